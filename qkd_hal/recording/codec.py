"""What hooks take and give, as JSON values without secrets, and back.

Whatever reads from JSON raises ``ValueError``, ``KeyError`` or ``TypeError`` on what the
format does not allow; the reader of the file makes one error of them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeVar

from qkd_hal.error_codes import class_of
from qkd_hal.errors import QKDError
from qkd_hal.keys import KeyId, Origin, Provenance
from qkd_hal.recording.redaction import REDACTED, pseudonym, redacted_text
from qkd_hal.sources import Alarm, Capability, DeviceInfo, DeviceStatus, Slot

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "error_from_json",
    "error_to_json",
    "figure",
    "info_from_json",
    "info_to_json",
    "item",
    "slot_from_json",
    "slot_to_json",
    "slots_from_json",
    "status_from_json",
    "status_to_json",
]

_MAX_FIGURE = 1 << 64  # no counter is larger; a key read as a number would be

T = TypeVar("T")


def item(fields: Any, name: str, kind: type[T]) -> T:
    """Return ``fields[name]``, which must be of exactly the type *kind*."""
    value = fields[name]
    if type(value) is not kind:
        raise TypeError(f"{name} is no {kind.__name__}")
    return value


def info_to_json(info: DeviceInfo) -> dict[str, object]:
    """Return what identifies a device; nothing of it is secret."""
    return {
        "vendor": info.vendor,
        "model": info.model,
        "serial_number": info.serial_number,
        "firmware": info.firmware,
        "capabilities": sorted(capability.value for capability in info.capabilities),
        "origin": info.provenance.origin.value,
        "trusted_nodes": list(info.provenance.trusted_nodes),
        "site": info.site,
        "peers": list(info.peers),
        "max_key_size": info.max_key_size,
    }


def info_from_json(fields: object) -> DeviceInfo:
    """Read what :func:`info_to_json` wrote."""
    origin = Origin(item(fields, "origin", str))
    return DeviceInfo(
        vendor=item(fields, "vendor", str),
        model=item(fields, "model", str),
        serial_number=item(fields, "serial_number", str),
        firmware=item(fields, "firmware", str),
        capabilities=frozenset(map(Capability, _texts(fields, "capabilities"))),
        provenance=Provenance(origin, _texts(fields, "trusted_nodes")),
        site=item(fields, "site", str),
        peers=_texts(fields, "peers"),
        max_key_size=item(fields, "max_key_size", int),
    )


def status_to_json(status: DeviceStatus) -> dict[str, object]:
    """Return how a device fares; its own details with all that could be a key left out."""
    return {
        "qber": figure(status.qber),
        "secret_key_rate_bps": figure(status.secret_key_rate_bps),
        "stored_keys": figure(status.stored_keys),
        "stored_bytes": figure(status.stored_bytes),
        "link_up": status.link_up,
        "alarms": sorted(alarm.value for alarm in status.alarms),
        "details": {redacted_text(name): figure(v) for name, v in status.details.items()},
    }


def status_from_json(fields: object) -> DeviceStatus:
    """Read what :func:`status_to_json` wrote."""
    details: Mapping[str, Any] = item(fields, "details", dict)
    return DeviceStatus(
        qber=_optional(fields, "qber", int, float),
        secret_key_rate_bps=_optional(fields, "secret_key_rate_bps", int, float),
        stored_keys=_optional(fields, "stored_keys", int),
        stored_bytes=_optional(fields, "stored_bytes", int),
        link_up=_optional(fields, "link_up", bool),
        alarms=frozenset(map(Alarm, _texts(fields, "alarms"))),
        details={
            name: _optional(details, name, str, int, float, bool)
            for name in details
            if details[name] is not None
        },
    )


def slot_to_json(slot: Slot) -> dict[str, object]:
    """Return which key a slot holds; its handle belongs to the driver and may be a secret."""
    return {"key_id": str(slot.key_id), "peer": slot.peer, "size": slot.size}


def slot_from_json(fields: object) -> Slot:
    """Read what :func:`slot_to_json` wrote."""
    return Slot(
        KeyId.parse(item(fields, "key_id", str)),
        item(fields, "peer", str),
        _optional(fields, "size", int),
    )


def slots_from_json(values: object) -> list[Slot]:
    """Read a list of slots."""
    if type(values) is not list:
        raise TypeError("no list of slots")
    return [slot_from_json(fields) for fields in values]


def error_to_json(error: BaseException) -> dict[str, object]:
    """Return an error of the tree with its texts redacted, of any other only the class."""
    if not isinstance(error, QKDError):
        return {"exception": type(error).__name__}
    fields: dict[str, object] = {"code": error.code, "what": redacted_text(error.what)}
    if error.cure:
        fields["cure"] = redacted_text(error.cure)
    if error.key_id:
        fields["key_id"] = str(pseudonym(error.key_id))
    return fields


def error_from_json(fields: Any, *, device: str) -> Exception:
    """Read what :func:`error_to_json` wrote; an exception outside the tree has another class."""
    if "exception" in fields:
        return RuntimeError(f"replayed: {item(fields, 'exception', str)}")
    key_id = _optional(fields, "key_id", str) if "key_id" in fields else None
    return class_of(item(fields, "code", str))(
        item(fields, "what", str),
        device=device,
        key_id=KeyId.parse(key_id) if key_id else None,
        cure=item(fields, "cure", str) if "cure" in fields else None,
    )


def _texts(fields: object, name: str) -> tuple[str, ...]:
    values = item(fields, name, list)
    if not all(type(value) is str for value in values):
        raise TypeError(f"{name} holds something else than texts")
    return tuple(values)


def _optional(fields: Any, name: str, *kinds: type) -> Any:
    value = fields[name]
    if value is not None and type(value) not in kinds:
        raise TypeError(f"{name} is of a wrong type")
    return value


def figure(value: object) -> object:
    """Return what JSON can hold and no key can hide in."""
    if isinstance(value, str):
        return redacted_text(value)
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return value if abs(value) < _MAX_FIGURE else REDACTED
    return value if isinstance(value, float) and math.isfinite(value) else None
