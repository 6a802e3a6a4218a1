"""The strict subset of CBOR that a box reads (``docs/boxlink.md``, section 4)."""

from __future__ import annotations

import struct
from typing import Any

import cbor2

__all__ = ["MalformedError", "encode", "read_map"]

_MAX_DEPTH = 3
_WIDTHS = {24: 1, 25: 2, 26: 4, 27: 8}
_FLOATS = {25: ">e", 26: ">f", 27: ">d"}
_SIMPLE = {20: False, 21: True, 22: None}


class MalformedError(Exception):
    """A body that a box refuses."""


def encode(value: dict[str, Any]) -> bytes:
    """Return the deterministic encoding (RFC 8949, section 4.2.1)."""
    return cbor2.dumps(value, canonical=True)


def read_map(data: bytes) -> dict[str, Any]:
    """Read the one map that *data* is.

    Raises:
        MalformedError: it is anything else, or breaks a rule of section 4.
    """
    if not data or data[0] >> 5 != 5:
        raise MalformedError("a body is a map")
    value, end = _item(data, 0, 1)
    if end != len(data):
        raise MalformedError("bytes after the map")
    result: dict[str, Any] = value
    return result


def _item(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    if at >= len(data):
        raise MalformedError("cut short")
    first = data[at]
    major, count, at = first >> 5, first & 31, at + 1
    if major == 7:
        return _simple(data, at, count)
    if count >= 24:
        count, at = _argument(data, at, count)
    if major <= 1:
        return (-1 - count if major else count), at
    if major <= 3:
        return _string(data, at, count, text=major == 3)
    if major == 6:
        raise MalformedError("a tag")
    if depth > _MAX_DEPTH:
        raise MalformedError("nested too deep")
    return _map(data, at, count, depth) if major == 5 else _array(data, at, count, depth)


def _argument(data: bytes, at: int, info: int) -> tuple[int, int]:
    end = at + _WIDTHS.get(info, 0)
    if end == at or end > len(data):
        raise MalformedError("an indefinite, reserved or unfinished length")
    return int.from_bytes(data[at:end], "big"), end


def _string(data: bytes, at: int, size: int, *, text: bool) -> tuple[bytes | str, int]:
    end = at + size
    if end > len(data):
        raise MalformedError("a string reaches beyond the end")
    if not text:
        return data[at:end], end
    try:
        return data[at:end].decode(), end
    except UnicodeDecodeError:
        raise MalformedError("text that is not UTF-8") from None


def _array(data: bytes, at: int, count: int, depth: int) -> tuple[list[Any], int]:
    items = []
    for _ in range(count):  # a false count ends with the data: each item takes a byte
        value, at = _item(data, at, depth + 1)
        items.append(value)
    return items, at


def _map(data: bytes, at: int, count: int, depth: int) -> tuple[dict[str, Any], int]:
    result: dict[str, Any] = {}
    for _ in range(count):
        key, at = _item(data, at, depth + 1)
        if not isinstance(key, str) or key in result:
            raise MalformedError("a key that is no text, or stands twice")
        result[key], at = _item(data, at, depth + 1)
    return result, at


def _simple(data: bytes, at: int, info: int) -> tuple[Any, int]:
    if info in _SIMPLE:
        return _SIMPLE[info], at
    end = at + _WIDTHS.get(info, 0)
    if info not in _FLOATS or end > len(data):
        raise MalformedError("a simple value that has no place here")
    return struct.unpack(_FLOATS[info], data[at:end])[0], end
