"""Requests and replies of ``docs/modem-protocol.md``: CBOR maps in canonical form, no I/O.

Key bytes never stand in a map: they travel as a message part of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import cbor2

from qkd_hal.canonical_cbor import decode_map
from qkd_hal.error_codes import class_of
from qkd_hal.errors import ProtocolError, QKDError

__all__ = ["MAJOR_VERSION", "Reply", "decode_reply", "encode_request", "error_of", "item"]

MAJOR_VERSION = 1

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer to request *number*: its results, or the error that it reports."""

    number: int
    results: Mapping[str, object]


def encode_request(number: int, operation: str, arguments: Mapping[str, object]) -> bytes:
    """Return the bytes of one request."""
    raw: bytes = cbor2.dumps({**arguments, "n": number, "op": operation}, canonical=True)
    return raw


def decode_reply(raw: bytes) -> Reply:
    """Read one reply.

    Raises:
        ProtocolError: it is not exactly one canonical CBOR map with a request number.
    """
    fields = decode_map(raw, "a modem's reply")
    number = fields.get("n")
    if type(number) is not int or number < 0:
        raise ProtocolError("a modem's reply carries no request number")
    return Reply(number, fields)


def error_of(reply: Reply, *, device: str) -> QKDError | None:
    """Return the error that *reply* reports, in our tree; ``None`` for a success."""
    if "error" not in reply.results:
        return None
    code, what = item(reply.results, "error", str), item(reply.results, "what", str)
    cure = item(reply.results, "cure", str) if "cure" in reply.results else None
    return class_of(code)(_printable(what), device=device, cure=cure and _printable(cure))


def item(fields: Mapping[str, object], name: str, kind: type[Item]) -> Item:
    """Return field *name*, which must be of exactly the type *kind*.

    Raises:
        ProtocolError: it is missing or of another type.
    """
    value = fields.get(name)
    if type(value) is not kind:
        raise ProtocolError(f"a modem's reply has no {kind.__name__} field {name!r}")
    return value


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text[:500])
