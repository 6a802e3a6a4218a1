"""Data objects of the key token: BER-TLV with tags of one byte. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qkd_hal.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["decode", "encode"]

_LONGEST = 0xFFFF
_BYTES_OF_LENGTH = {0x81: 1, 0x82: 2}
_LEAST = {1: 0x80, 2: 0x100}  # a shorter length has a shorter form


def encode(objects: Iterable[tuple[int, bytes | bytearray]]) -> bytearray:
    """Return *objects*, tags and values, one behind the other."""
    encoded = bytearray()
    for tag, value in objects:
        encoded += bytes([tag]) + _length(len(value))
        encoded += value
    return encoded


def decode(data: bytes | bytearray) -> dict[int, bytes]:
    """Return the values by tag.

    Raises:
        ProtocolError: a tag comes twice, a length is not in its shortest form, or the last
            object does not end where *data* ends.
    """
    objects: dict[int, bytes] = {}
    at = 0
    while at < len(data):
        tag = data[at]
        begin, size = _measured(data, at + 1)
        if tag in objects or begin + size > len(data):
            raise ProtocolError("the token's data objects are broken")
        objects[tag] = bytes(data[begin : begin + size])
        at = begin + size
    return objects


def _length(size: int) -> bytes:
    if size < _LEAST[1]:
        return bytes([size])
    if size < _LEAST[2]:
        return bytes([0x81, size])
    if size > _LONGEST:
        raise ValueError(f"a data object has at most {_LONGEST} bytes")
    return b"\x82" + size.to_bytes(2, "big")


def _measured(data: bytes | bytearray, at: int) -> tuple[int, int]:
    """Return where the value of the length at *at* begins, and its size."""
    first = data[at] if at < len(data) else 0xFF
    if first < _LEAST[1]:
        return at + 1, first
    count = _BYTES_OF_LENGTH.get(first, 0)
    size = int.from_bytes(data[at + 1 : at + 1 + count], "big")
    if not count or at + 1 + count > len(data) or size < _LEAST[count]:
        raise ProtocolError("the token's data objects are broken")
    return at + 1 + count, size
