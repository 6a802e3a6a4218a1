"""Bytes to bit planes and back: word w of plane p has bit p of the bytes 64 w to 64 w + 63."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Bytes = NDArray[np.uint8]
    Words = NDArray[np.uint64]

__all__ = ["from_planes", "swap_lanes", "to_planes"]

_WORD = np.dtype("<u8")  # its bytes in the order of the array, on any machine
# Three steps transpose 8 x 8 bits: Warren, Hacker's Delight, 7-3.
_STEPS = [
    (np.uint64(shift), np.uint64(mask))
    for shift, mask in (
        (7, 0x00AA00AA00AA00AA),
        (14, 0x0000CCCC0000CCCC),
        (28, 0x00000000F0F0F0F0),
    )
]
_EVEN_LANES = [
    np.uint64(mask)
    for mask in (
        0x5555555555555555,
        0x3333333333333333,
        0x0F0F0F0F0F0F0F0F,
        0x00FF00FF00FF00FF,
        0x0000FFFF0000FFFF,
        0x00000000FFFFFFFF,
    )
]


def to_planes(octets: Bytes) -> Words:
    """Return the eight planes of a multiple of 64 bytes."""
    columns = _transposed(octets.view(_WORD)).view(np.uint8).reshape(-1, 8)
    return np.ascontiguousarray(columns.T).view(_WORD).astype(np.uint64, copy=False)


def from_planes(planes: Words) -> Bytes:
    """Undo :func:`to_planes`."""
    rows = np.ascontiguousarray(planes, _WORD).view(np.uint8)
    return _transposed(np.ascontiguousarray(rows.T).reshape(-1).view(_WORD)).view(np.uint8)


def _transposed(words: Words) -> Words:
    words = words.copy()
    for shift, mask in _STEPS:
        moved = (words ^ (words >> shift)) & mask
        words ^= moved
        words ^= moved << shift
    return words


def swap_lanes(planes: Words, bit: int) -> None:
    """Exchange lanes with a 1 at *bit* of their number in the first half of the words of each
    plane for those with a 0 in the second, in place; undoes itself.
    """
    first, second = np.split(planes, 2, axis=-1)
    shift = np.uint64(1 << bit)
    moved = first >> shift
    moved ^= second
    moved &= _EVEN_LANES[bit]
    second ^= moved
    moved <<= shift
    first ^= moved
