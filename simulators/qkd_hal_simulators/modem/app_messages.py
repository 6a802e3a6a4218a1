"""The modem's side of ``docs/modem-protocol.md``: requests in, replies out, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import cbor2

from qkd_hal.canonical_cbor import decode_map
from qkd_hal.errors import ProtocolError, QKDError, UsageError

__all__ = ["MAX_REQUEST_BYTES", "VERSION", "Request", "argument", "encode_error", "encode_reply"]

VERSION = 1
MAX_REQUEST_BYTES = 4096  # the largest request names a peer, a handle and a few numbers

Argument = TypeVar("Argument")


@dataclass(frozen=True, slots=True)
class Request:
    """One request: its number, its operation and everything else it says."""

    number: int
    operation: str
    arguments: Mapping[str, object]

    @classmethod
    def from_bytes(cls, raw: bytes) -> Request:
        """Read one request.

        Raises:
            ProtocolError: it is not one canonical CBOR map with a number and an operation.
        """
        fields = decode_map(raw, "a request")
        number, operation = fields.pop("n", None), fields.pop("op", None)
        if type(number) is not int or not 0 <= number < 1 << 63 or type(operation) is not str:
            raise ProtocolError("a request carries no number or no operation")
        return cls(number, operation, fields)


def argument(request: Request, name: str, kind: type[Argument]) -> Argument:
    """Return an argument, which must be of exactly the type *kind*.

    Raises:
        UsageError: it is missing or of another type.
    """
    value = request.arguments.get(name)
    if type(value) is not kind:
        raise UsageError(f"{request.operation!r} needs {name!r} of type {kind.__name__}")
    return value


def encode_reply(number: int, results: Mapping[str, object]) -> bytes:
    """Return the reply to request *number*."""
    raw: bytes = cbor2.dumps({**results, "n": number}, canonical=True)
    return raw


def encode_error(number: int, error: QKDError) -> bytes:
    """Return a reply that reports *error* by its stable code."""
    fields = {"error": error.code, "what": error.what}
    if error.cure:
        fields["cure"] = error.cure
    return encode_reply(number, fields)
