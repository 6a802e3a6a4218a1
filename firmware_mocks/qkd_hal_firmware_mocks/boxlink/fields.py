"""The host's requests, checked against the schema (``docs/boxlink.md``, section 9)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qkd_hal_firmware_mocks.boxlink.cbor import MalformedError, read_map

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Check = Callable[[Any], bool]

__all__ = [
    "AGREE",
    "AUTH",
    "BIND",
    "CONFIRM",
    "CREDIT_BODY",
    "EMPTY",
    "FETCH",
    "HELLO",
    "HELLO_MAJOR",
    "MAY_BE_LEFT_OUT",
    "RESERVE",
    "read_fields",
]

_UINT = (1 << 53) - 1
_MAX_KEY = 1 << 20
_MAX_INLINE = 4096


def _number(low: int, high: int) -> Check:
    return lambda value: type(value) is int and low <= value <= high


def _bytes(size: int) -> Check:
    return lambda value: isinstance(value, bytes) and len(value) == size


def _text(value: Any) -> bool:
    if not isinstance(value, str) or not 1 <= len(value.encode()) <= 64:
        return False
    return value.isprintable() or not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in value)


def _list(check: Check, low: int, high: int) -> Check:
    return lambda value: (
        isinstance(value, list) and low <= len(value) <= high and all(map(check, value))
    )


_U16 = _number(0, 0xFFFF)
_KEY: dict[str, Check] = {"peer": _text, "id": _bytes(16)}

EMPTY: dict[str, Check] = {}
HELLO_MAJOR: dict[str, Check] = {"major": _U16}
HELLO: dict[str, Check] = HELLO_MAJOR | {
    "minor": _U16,
    "nonce": _bytes(32),
    "max_frame": _number(256, 65536),
    "credits": _number(1, 64),
    "suites": _list(_U16, 1, 8),
    "features": _list(_text, 0, 32),
}
AUTH: dict[str, Check] = {"proof": _bytes(32)}
RESERVE: dict[str, Check] = {
    "peer": _text,
    "size": _number(0, _MAX_KEY),
    "count": _number(1, 16),
    "token": _bytes(16),
}
MAY_BE_LEFT_OUT = frozenset({"inline"})
_INLINE = {"inline": _number(1, _MAX_INLINE)}
BIND = _KEY | _INLINE
AGREE = _KEY | _INLINE | {"wait_ms": _number(0, 600_000)}
FETCH = _KEY | {"offset": _number(0, _UINT), "size": _number(1, _MAX_KEY)}
CONFIRM = _KEY | {"end": _number(0, _UINT)}
CREDIT_BODY = {"transfer": _number(0, 0xFFFFFFFF), "credits": _number(1, 64)}


def read_fields(body: bytes, schema: Mapping[str, Check]) -> dict[str, Any]:
    """Read *body*, which has the fields of *schema*, if not `MAY_BE_LEFT_OUT`, and perhaps others.

    Raises:
        MalformedError: no strict CBOR, or a field is missing, of another type or out of range.
    """
    fields = read_map(body)
    for name, check in schema.items():
        if name not in fields and name in MAY_BE_LEFT_OUT:
            continue
        if name not in fields or not check(fields[name]):
            raise MalformedError(f"{name} is missing or wrong")
    return fields
