"""The bodies of ``docs/boxlink.md``, section 9: read strictly into what the driver needs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Final, TypeAlias

from qkd_hal.errors import ProtocolError
from qkd_hal.keys import Origin, Provenance
from qkd_hal.sources import Agreement, Alarm, Capability, DeviceInfo, DeviceStatus
from qkd_hal_drivers.boxlink.strict_cbor import byte_string, decode_map

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "INLINE",
    "MAJOR",
    "MAX_KEY",
    "SUITE",
    "Failure",
    "Operation",
    "Transfer",
    "hello_request",
    "read_agreement",
    "read_bound_size",
    "read_confirmed",
    "read_failure",
    "read_fetched",
    "read_hello",
    "read_ids",
    "read_info",
    "read_inline",
    "read_proof",
    "read_status",
]

Fields: TypeAlias = "Mapping[str, object]"

MAJOR: Final = 1
MINOR: Final = 0
SUITE: Final = 1  # HKDF-SHA-256 and AES-256-GCM
MAX_KEY: Final = 1 << 20  # bytes in one key, and in one FETCH
# Bytes of a key that is welcome with a BIND or AGREE answer: keys of ciphers and MACs. It takes
# 25 ms at 115200 baud, in vain if nobody fetches it, and for longer keys a FETCH weighs little.
INLINE: Final = 256
_KEY_ID_BYTES: Final = 16
_MAX_UINT: Final = (1 << 53) - 1
_CAPABILITIES: Final = {
    one.value: one
    for one in (
        Capability.LOOK_UP,
        Capability.STREAM,
        Capability.RESERVE_AHEAD,
        Capability.CONFIRM_PEER,
    )
}
_ALWAYS: Final = frozenset({Capability.EXTRACT, Capability.REPEATABLE_FETCH})
_ALARMS: Final = {alarm.value: alarm for alarm in Alarm}


class Operation(IntEnum):
    """Operation codes, section 7."""

    HELLO = 0x01
    AUTH = 0x02
    BYE = 0x03
    INFO = 0x10
    STATUS = 0x11
    RESERVE = 0x20
    BIND = 0x21
    AGREE = 0x22
    FETCH = 0x23
    CONFIRM = 0x24


@dataclass(frozen=True, slots=True)
class Transfer:
    """A FETCH whose bytes follow in CHUNKs: *total* bytes with this SHA-256."""

    number: int
    total: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class Failure:
    """An ERR."""

    code: int
    text: str
    retry_ms: int | None


def hello_request(nonce: bytes, max_frame: int, window: int) -> dict[str, object]:
    """Return the fields of the host's HELLO; *window*: CHUNKs before the first CREDIT."""
    return {
        "major": MAJOR,
        "minor": MINOR,
        "nonce": nonce,
        "suites": [SUITE],
        "credits": window,
        "features": [],
        "max_frame": max_frame,
    }


def read_hello(body: memoryview) -> str:
    """Read the box's HELLO; return its serial number.

    All ``read_`` functions raise :class:`ProtocolError`, and nothing else.
    """
    fields = decode_map(body)
    major = _uint(fields, "major", 0, 65535)
    if major != MAJOR:
        raise ProtocolError(
            f"the box speaks version {major} of boxlink, not {MAJOR}",
            cure="Update the older of the two, the box's firmware or qkd-hal",
        )
    _uint(fields, "minor", 0, 65535)
    _octets(fields, "nonce", 32)
    _texts(fields, "features", 32)
    if _uint(fields, "suite", 0, 65535) != SUITE:
        raise ProtocolError("the box chose a cipher suite that was not offered")
    _uint(fields, "max_frame", 256, 65536)  # the least holds the longest request of a host
    return _text(fields, "serial", 64)


def read_proof(body: memoryview) -> bytes:
    """Read an AUTH answer."""
    return _octets(decode_map(body), "proof", 32)


def read_info(body: memoryview, serial_number: str) -> DeviceInfo:
    """Read an INFO answer; the serial number is HELLO's, which AUTH has proved."""
    fields = decode_map(body)
    claimed = _texts(fields, "capabilities", 32)
    try:
        origin = Origin(_text(fields, "origin", 64))
    except ValueError:
        raise ProtocolError("the box names an origin of its keys that boxlink has not") from None
    return DeviceInfo(
        vendor=_text(fields, "vendor", 64),
        model=_text(fields, "model", 64),
        serial_number=serial_number,
        firmware=_text(fields, "firmware", 64),
        capabilities=_ALWAYS | {_CAPABILITIES[name] for name in claimed if name in _CAPABILITIES},
        provenance=Provenance(origin, _texts(fields, "nodes", 32)),
        site=_text(fields, "site", 64),
        peers=_texts(fields, "peers", 64),
        max_key_size=_uint(fields, "max_key", 1, MAX_KEY),
    )


def read_status(body: memoryview) -> DeviceStatus:
    """Read a STATUS answer. An alarm of a later version counts as a fault."""
    fields = decode_map(body)
    link_up = fields.get("link_up")
    if not (link_up is None or isinstance(link_up, bool)):
        raise ProtocolError("the box's 'link_up' is neither true nor false")
    return DeviceStatus(
        qber=_figure(fields, "qber", 1.0),
        secret_key_rate_bps=_figure(fields, "rate_bps", math.inf),
        stored_keys=_optional_uint(fields, "stored_keys", (1 << 32) - 1),
        stored_bytes=_optional_uint(fields, "stored_bytes", _MAX_UINT),
        link_up=link_up,
        alarms=frozenset(_ALARMS.get(name, Alarm.FAULT) for name in _texts(fields, "alarms", 32)),
        details=_details(fields),
    )


def read_ids(body: memoryview, count: int) -> list[bytes]:
    """Read a RESERVE answer: *count* different key IDs."""
    ids = decode_map(body).get("ids")
    if not isinstance(ids, list) or len(ids) != count:
        raise ProtocolError("the box reserved another number of keys")
    if not all(isinstance(one, bytes) and len(one) == _KEY_ID_BYTES for one in ids):
        raise ProtocolError("the box gave key IDs that are no 16 bytes")
    if len(set(ids)) != count:
        raise ProtocolError("the box reserved one key twice")
    return ids


def read_inline(body: memoryview, instead_of: str, least: int, most: int) -> memoryview | None:
    """Read the whole key that a BIND or AGREE answer brought along: *least* to *most* bytes,
    inside *body*; ``None`` if it brought none. *most* is 0 if none was asked for."""
    key = byte_string(body, "data", instead_of=instead_of)
    if key is not None and not least <= len(key) <= most:
        raise ProtocolError("the box sent along a key of another length than it was asked for")
    return key


def read_bound_size(body: memoryview) -> int | None:
    """Read a BIND answer: bytes in the key, ``None`` for a stream."""
    return _uint(decode_map(body), "size", 0, MAX_KEY) or None


def read_agreement(body: memoryview) -> Agreement:
    """Read an AGREE answer."""
    sure = _uint(decode_map(body), "agreement", 0, 1)
    return Agreement.CONFIRMED if sure else Agreement.UNCHECKED


def read_fetched(body: memoryview, size: int) -> memoryview | Transfer:
    """Read a FETCH answer: *size* key bytes, inside *body*, or the transfer that brings them."""
    data = byte_string(body, "data", instead_of="transfer")
    if data is not None:
        if len(data) != size:
            raise ProtocolError("the box sent another number of key bytes")
        return data
    fields = decode_map(body)
    total = _uint(fields, "total", 1, MAX_KEY)
    if total != size:
        raise ProtocolError("the box announced another number of key bytes")
    number = _uint(fields, "transfer", 0, (1 << 32) - 1)
    return Transfer(number, total, _octets(fields, "sha256", 32))


def read_confirmed(body: memoryview) -> int:
    """Read a CONFIRM answer: all bytes before this one are erased."""
    return _uint(decode_map(body), "end", 0, _MAX_UINT)


def read_failure(body: memoryview) -> Failure:
    """Read an ERR; its text is made safe to show."""
    fields = decode_map(body)
    text = _shown(fields.get("text"), 200)
    code = _uint(fields, "code", 0, 65535)
    return Failure(code, text, _optional_uint(fields, "retry_ms", 600_000))


def _uint(fields: Fields, name: str, low: int, high: int) -> int:
    value = fields.get(name)
    if type(value) is not int or not low <= value <= high:
        raise ProtocolError(f"the box's {name!r} is no number from {low} to {high}")
    return value


def _optional_uint(fields: Fields, name: str, high: int) -> int | None:
    return _uint(fields, name, 0, high) if name in fields else None


def _octets(fields: Fields, name: str, size: int) -> bytes:
    value = fields.get(name)
    if type(value) is not bytes or len(value) != size:
        raise ProtocolError(f"the box's {name!r} is no {size} bytes")
    return value


def _text(fields: Fields, name: str, limit: int) -> str:
    return _checked_text(fields.get(name), name, limit)


def _checked_text(value: object, name: str, limit: int) -> str:
    if not isinstance(value, str) or not 1 <= len(value.encode()) <= limit:
        raise ProtocolError(f"the box's {name!r} is no text of 1 to {limit} bytes")
    if not value.isprintable():
        raise ProtocolError(f"the box's {name!r} holds control characters")
    return value


def _texts(fields: Fields, name: str, most: int) -> tuple[str, ...]:
    values = fields.get(name)
    if not isinstance(values, list) or len(values) > most:
        raise ProtocolError(f"the box's {name!r} is no list of up to {most} texts")
    return tuple(_checked_text(value, name, 64) for value in values)


def _figure(fields: Fields, name: str, most: float) -> float | None:
    if name not in fields:
        return None
    value = fields[name]
    if type(value) not in (int, float) or not isinstance(value, int | float):
        raise ProtocolError(f"the box's {name!r} is no number")
    if not 0 <= value <= most or math.isinf(value):
        raise ProtocolError(f"the box's {name!r} is out of range")
    return float(value)


def _details(fields: Fields) -> dict[str, str | int | float | bool]:
    details = fields.get("details", {})
    if not isinstance(details, dict) or len(details) > 32:
        raise ProtocolError("the box's 'details' are no map of up to 32 entries")
    return {_checked_text(name, "details", 64): _detail(value) for name, value in details.items()}


def _detail(value: object) -> str | int | float | bool:
    if isinstance(value, bool | int | float):
        if not math.isfinite(value):
            raise ProtocolError("the box's 'details' hold a number that is none")
        return value
    return _shown(value, 200)


def _shown(value: object, limit: int) -> str:
    if not isinstance(value, str) or len(value.encode()) > limit:
        raise ProtocolError(f"the box sent something else than a text of up to {limit} bytes")
    return "".join(one if one.isprintable() else "?" for one in value)
