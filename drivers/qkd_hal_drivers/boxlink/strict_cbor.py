"""The CBOR that boxlink allows (``docs/boxlink.md``, section 4), and nothing else.

A body is walked before it is decoded: what the page refuses never reaches the decoder, and key
bytes are found in place, without a copy that nobody could overwrite.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Final, NamedTuple

import cbor2

from qkd_hal.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["byte_string", "decode_map", "encode_map"]

_MAX_DEPTH: Final = 3
_UINT, _NEGATIVE, _BYTES, _TEXT, _ARRAY, _MAP, _TAG, _SIMPLE = range(8)  # major types
_PLAIN_SIMPLES: Final = frozenset({20, 21, 22})  # false, true, null
_FLOATS: Final = frozenset({25, 26, 27})  # half, single, double


class _Item(NamedTuple):
    """Where one item's content is; that of an array or map is not looked into."""

    major: int
    start: int
    end: int


def encode_map(fields: Mapping[str, object]) -> bytes:
    """Return a body. Fields that stand in order, shorter names first, give golden bytes."""
    if list in map(type, fields.values()):
        return _encode_with_lists(fields)
    raw: bytes = cbor2.dumps(fields)  # letting cbor2 sort them takes as long again
    return raw


def _encode_with_lists(fields: Mapping[str, object]) -> bytes:
    """Write the lists' heads: in a list that cbor2 6 writes by itself, half of Ctrl-Cs drown."""
    raw = BytesIO()
    encoder = cbor2.CBOREncoder(raw)
    encoder.encode_length(_MAP, len(fields))
    for name, value in fields.items():
        encoder.encode(name)
        if isinstance(value, list):
            encoder.encode_length(_ARRAY, len(value))
        for item in value if isinstance(value, list) else (value,):
            encoder.encode(item)
    return raw.getvalue()


def decode_map(body: memoryview) -> dict[str, object]:
    """Read a body.

    Raises:
        ProtocolError: it breaks section 4.
    """
    _walked(body)
    # A copy, of what holds no key: the decoder takes three times as long to read a view.
    fields: dict[str, object] = cbor2.loads(bytes(body))
    return fields


def byte_string(body: memoryview, name: str, *, instead_of: str) -> memoryview | None:
    """Return the part of *body* that is the byte string *name*; ``None`` if it has none.

    Raises:
        ProtocolError: *body* breaks section 4, *name* is something else, or *instead_of*, whose
            place it takes, stands beside it.
    """
    items = _walked(body)
    item = items.get(name.encode())
    if item is None:
        return None
    if instead_of.encode() in items:
        raise ProtocolError(f"the box sent {name!r} and {instead_of!r}, of which it may send one")
    if item.major != _BYTES:
        raise ProtocolError(f"the box's {name!r} is no byte string")
    return body[item.start : item.end]


def _walked(body: memoryview) -> dict[bytes, _Item]:
    try:
        major, pairs, at = _head(body, 0)
        if major != _MAP:
            raise ProtocolError("a body is no CBOR map")
        found, end = _map(body, at, pairs, 1)
    except (IndexError, UnicodeDecodeError):
        raise ProtocolError("a body is cut short, or its text is not UTF-8") from None
    if end != len(body):
        raise ProtocolError("bytes follow a body")
    return found


def _head(body: memoryview, at: int) -> tuple[int, int, int]:
    """Return major type, argument, and where the head ends; IndexError beyond the body."""
    first = body[at]
    major, info = first >> 5, first & 31
    if info < 24:
        return major, info, at + 1
    if info > 27:
        raise ProtocolError("a body holds an item of indefinite length, or a reserved one")
    end = at + 1 + (1 << (info - 24))
    if major == _SIMPLE:
        return major, info, end  # a float's bits are no argument
    body[end - 1]
    return major, int.from_bytes(body[at + 1 : end], "big"), end


def _map(body: memoryview, at: int, pairs: int, depth: int) -> tuple[dict[bytes, _Item], int]:
    found: dict[bytes, _Item] = {}
    for _ in range(pairs):  # a lying count ends at the end of the body
        name = _item(body, at, depth)
        key = bytes(body[name.start : name.end])
        if name.major != _TEXT or key in found:
            raise ProtocolError("a map has a key that is no text, or stands twice")
        found[key] = value = _item(body, name.end, depth)
        at = value.end
    return found, at


def _item(body: memoryview, at: int, depth: int) -> _Item:
    major, argument, at = _head(body, at)
    if major <= _NEGATIVE:
        return _Item(major, at, at)
    if major <= _TEXT:
        return _string(body, major, at, at + argument)
    if major <= _MAP:
        return _Item(major, at, _nested(body, major, at, argument, depth + 1))
    if major == _SIMPLE and argument in _FLOATS:
        body[at - 1]
    elif major == _TAG or argument not in _PLAIN_SIMPLES:
        raise ProtocolError("a body holds a tag or a simple value that boxlink does not have")
    return _Item(major, at, at)


def _string(body: memoryview, major: int, start: int, end: int) -> _Item:
    if end > len(body):
        raise ProtocolError("a length in a body points beyond its end")
    if major == _TEXT:
        str(body[start:end], "utf-8")
    return _Item(major, start, end)


def _nested(body: memoryview, major: int, at: int, count: int, depth: int) -> int:
    if depth > _MAX_DEPTH:
        raise ProtocolError("a body is nested too deeply")
    if major == _MAP:
        return _map(body, at, count, depth)[1]
    for _ in range(count):
        at = _item(body, at, depth).end
    return at
