"""Bit arrays as bytes on the wire: exact lengths, zero padding, nothing taken on trust."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qkd_hal.errors import ProtocolError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qkd_hal.sources import EntropySource

__all__ = ["pack_bits", "random_bits", "random_bytes", "unpack_bits"]


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


def random_bytes(entropy: EntropySource, size: int) -> bytes:
    """Draw *size* public random bytes: nonces and seeds."""
    buffer = bytearray(size)
    entropy.read_into(memoryview(buffer))
    return bytes(buffer)


def random_bits(entropy: EntropySource, count: int) -> NDArray[np.uint8]:
    """Draw *count* public random bits."""
    drawn = random_bytes(entropy, (count + 7) // 8)
    return np.unpackbits(np.frombuffer(drawn, np.uint8))[:count]
