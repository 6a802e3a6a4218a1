"""Bit arrays as bytes on the wire: exact lengths, zero padding, nothing taken on trust."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qkd_hal.errors import ProtocolError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qkd_hal.sources import EntropySource

__all__ = ["pack_bits", "pack_gaps", "random_bits", "random_bytes", "unpack_bits", "unpack_gaps"]

_MAX_GAP_BYTES = 5  # gaps up to 2^35 pulses: half a minute of darkness at 1 GHz


def pack_bits(bits: NDArray[np.uint8] | NDArray[np.bool_]) -> bytes:
    """Pack 0/1 values, first bit highest, padded with zeros to whole bytes."""
    return np.packbits(bits).tobytes()


def unpack_bits(packed: bytes, count: int) -> NDArray[np.uint8]:
    """Read exactly *count* bits.

    Raises:
        ProtocolError: another length, or padding that is not zero.
    """
    if len(packed) != (count + 7) // 8:
        raise ProtocolError(f"{count} bits do not take {len(packed)} bytes")
    bits = np.unpackbits(np.frombuffer(packed, np.uint8))
    if bits[count:].any():
        raise ProtocolError("bits beyond the end of a bit array")
    return bits[:count]


def pack_gaps(pulses: NDArray[np.int64], first: int) -> bytes:
    """Code strictly rising pulse numbers >= *first* as gaps, seven bits to a byte (LEB128)."""
    gaps = np.diff(pulses, prepend=np.int64(first - 1)) - 1
    shifts = 7 * np.arange(_MAX_GAP_BYTES)
    digits = gaps[:, None] >> shifts
    used = digits > 0
    used[:, 0] = True
    more = np.zeros_like(used)
    more[:, :-1] = used[:, 1:]
    coded: NDArray[np.uint8] = ((digits & 0x7F) | (more.astype(np.int64) << 7)).astype(np.uint8)
    return coded[used].tobytes()


def unpack_gaps(coded: bytes, count: int, first: int) -> NDArray[np.int64]:
    """Read *count* pulse numbers, strictly rising from *first*.

    Raises:
        ProtocolError: another count, an unfinished, overlong or padded number.
    """
    octets = np.frombuffer(coded, np.uint8)
    ends = np.flatnonzero(octets < 0x80)
    if len(ends) != count or (len(octets) and octets[-1] >= 0x80):
        raise ProtocolError(f"coded gaps do not hold {count} numbers")
    starts = np.concatenate(([0], ends[:-1] + 1))[:count]
    sizes = ends - starts + 1
    if count and (sizes.max() > _MAX_GAP_BYTES or (octets[ends][sizes > 1] == 0).any()):
        raise ProtocolError("a coded gap is overlong")
    gaps = np.zeros(count, np.int64)
    for digit in range(_MAX_GAP_BYTES):
        has = np.flatnonzero(sizes > digit)
        gaps[has] |= (octets[starts[has] + digit] & 0x7F).astype(np.int64) << (7 * digit)
    return np.cumsum(gaps + 1) + (first - 1)


def random_bytes(entropy: EntropySource, size: int) -> bytes:
    """Draw *size* public random bytes: nonces and seeds."""
    buffer = bytearray(size)
    entropy.read_into(memoryview(buffer))
    return bytes(buffer)


def random_bits(entropy: EntropySource, count: int) -> NDArray[np.uint8]:
    """Draw *count* public random bits."""
    drawn = random_bytes(entropy, (count + 7) // 8)
    return np.unpackbits(np.frombuffer(drawn, np.uint8))[:count]
