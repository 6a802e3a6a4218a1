"""BER-TLV data objects with tags of one byte."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["encode", "parse"]

_LONG_FORMS = {0x81: (1, 0x80), 0x82: (2, 0x100)}
"""First length byte → bytes that follow, and the least length that needs them."""


def encode(objects: Iterable[tuple[int, bytes]]) -> bytes:
    """Join *objects*, each a tag and a value of at most 65,535 bytes."""
    return b"".join(bytes([tag]) + _length(len(value)) + value for tag, value in objects)


def _length(size: int) -> bytes:
    if size < 0x80:
        return bytes([size])
    if size < 0x100:
        return bytes([0x81, size])
    return b"\x82" + size.to_bytes(2, "big")


def parse(data: bytes) -> dict[int, bytes]:
    """Return tag → value.

    Raises:
        ValueError: a tag twice, a length not in its shortest form, or bytes too few.
    """
    objects: dict[int, bytes] = {}
    while data:
        tag = data[0]
        size, start = _read_length(data)
        if tag in objects or len(data) < start + size:
            raise ValueError("not a list of data objects")
        objects[tag], data = data[start : start + size], data[start + size :]
    return objects


def _read_length(data: bytes) -> tuple[int, int]:
    if len(data) < 2:
        raise ValueError("a data object without a length")
    if data[1] < 0x80:
        return data[1], 2
    count, least = _LONG_FORMS.get(data[1], (0, 1))
    size = int.from_bytes(data[2 : 2 + count], "big")
    if len(data) < 2 + count or size < least:
        raise ValueError("a length in a form that is not allowed")
    return size, 2 + count
