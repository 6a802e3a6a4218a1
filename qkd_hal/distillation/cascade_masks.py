"""Random halves of the key, whose parities tell whether errors are left, and find them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qkd_hal.distillation.cascade_shuffle import public_words

if TYPE_CHECKING:
    from collections.abc import Generator

    from numpy.typing import NDArray

    Bits = NDArray[np.uint8]
    Words = NDArray[np.uint64]

__all__ = ["CONFIRMING_PARITIES", "Confirmation"]

CONFIRMING_PARITIES = 12  # a wrong key passes for right with probability 2^-12


class Confirmation:
    """A dozen random halves of a key of *length* bits. Any errors show in half of them.

    ``odd``: in which ones the two ends' parities differ.
    """

    def __init__(self, length: int, seed: bytes, number: int) -> None:
        self._length = length
        words = length // 64 + 1
        # Each half starts one word later in the same stream. The parities of any errors are as
        # independent as from separate streams: each takes in a last word that no earlier does.
        stream = public_words(seed, number, words + CONFIRMING_PARITIES - 1)
        self._masks = np.lib.stride_tricks.sliding_window_view(stream, words)
        self.odd = np.zeros(CONFIRMING_PARITIES, np.uint8)

    def parities(self, key: Words) -> Bits:
        """Return this end's parities of all halves."""
        parities = [_parity(mask & key[: len(mask)]) for mask in self._masks]
        return np.array(parities, np.uint8)

    def search(self, key: Words) -> Generator[Bits, Bits, int]:
        """Return the place of an error in the first odd half.

        Yields a parity at a time; takes a 1 if it differs.
        """
        mask = self._masks[self.odd.argmax()]
        bits = key[: len(mask)] & mask
        low, high = 0, self._length
        try:
            while high - low > 1:
                middle = (low + high) // 2
                marks = yield np.array([_range_parity(bits, low, middle)], np.uint8)
                low, high = (low, middle) if marks[0] else (middle, high)
        finally:
            bits.fill(0)
        return low

    def change(self, places: NDArray[np.int32]) -> None:
        """Note that the key changes at *places*."""
        shifts = (places & 63).astype(np.uint64)
        toggled = self._masks[:, places >> 6] >> shifts & np.uint64(1)
        self.odd ^= np.bitwise_xor.reduce(toggled, axis=1).astype(np.uint8)


def _range_parity(bits: Words, low: int, high: int) -> int:
    some = bits[low >> 6 : (high >> 6) + 1].copy()
    some[0] &= np.uint64(-1 << (low & 63) & 0xFFFFFFFFFFFFFFFF)
    some[-1] &= np.uint64((1 << (high & 63)) - 1)
    return _parity(some)


def _parity(bits: Words) -> int:
    return int(np.bitwise_xor.reduce(bits)).bit_count() & 1
