"""The driver of a BB84 optical modem, ``bb84+tcp://host:port?credential=FILE``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qkd_hal.errors import (
    ConfigurationError,
    DeadlineError,
    DeviceNotFoundError,
    ProtocolError,
    StateError,
    UnsupportedError,
)
from qkd_hal.keys import KeyId, Origin, Provenance
from qkd_hal.sources import (
    Agreement,
    Alarm,
    Capability,
    Deadline,
    DeviceInfo,
    DeviceStatus,
    Slot,
)
from qkd_hal_drivers.optical_modem._channel import ModemChannel
from qkd_hal_drivers.optical_modem._codec import MAJOR_VERSION, item
from qkd_hal_drivers.optical_modem._credential import load_credential

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qkd_hal.registry import DeviceURL

__all__ = ["OpticalModemDriver"]

CAPABILITIES: Final = frozenset(
    {
        Capability.LOOK_UP,
        Capability.EXTRACT,
        Capability.RESERVE_AHEAD,
        Capability.REPEATABLE_FETCH,
        Capability.CONFIRM_PEER,
    }
)
_HANDLE_BYTES = 16


class OpticalModemDriver:
    """A :class:`~qkd_hal.sources.KeyDriver` over the application wire of one modem."""

    def __init__(self, url: DeviceURL) -> None:
        foreign = set(url.query) - {"credential"} or url.path not in ("", "/")
        if not url.host or not url.port or foreign:
            raise ConfigurationError(
                f"{url} is no modem address",
                cure="Write bb84+tcp://HOST:PORT?credential=FILE",
            )
        host = f"[{url.host}]" if ":" in url.host else url.host
        self._endpoint = f"tcp://{host}:{url.port}"
        self._name = f"bb84+{self._endpoint}"
        self._credential_path = url.query.get("credential")
        self._channel: ModemChannel | None = None
        self._offsets: dict[bytes, int] = {}

    def open(self, deadline: Deadline) -> DeviceInfo:
        """Connect, prove the credential, and ask the modem who it is."""
        self.close()
        self._offsets.clear()
        credential = load_credential(self._credential_path)
        self._channel = ModemChannel(self._endpoint, credential, device=self._name)
        try:
            return self._hello(deadline)
        except DeadlineError:
            raise DeviceNotFoundError(
                "nobody answers as an optical modem",
                device=self._name,
                cure="Check the address, and that `qkd-hal modem` runs there",
            ) from None

    def close(self) -> None:
        """Release the connection; idempotent, from any thread."""
        channel = self._channel
        if channel is not None:
            channel.close()

    def status(self, deadline: Deadline) -> DeviceStatus:
        """Report error rate, secret key rate, stored keys and alarms."""
        results = self._call("status", {}, deadline)
        details = item(results, "details", dict)
        alarms = frozenset(_alarm(name) for name in item(results, "alarms", list))
        return DeviceStatus(
            qber=_optional(results, "qber"),
            secret_key_rate_bps=_optional(results, "secret_key_rate_bps"),
            stored_keys=item(results, "stored_keys", int),
            stored_bytes=item(results, "stored_bytes", int),
            link_up=item(results, "link_up", bool),
            alarms=alarms,
            details={str(k): v for k, v in details.items() if isinstance(v, str | int | float)},
        )

    def reserve(self, peer: str, size: int | None, count: int, deadline: Deadline) -> list[Slot]:
        """Set *count* keys of *size* bytes aside, all or none, durably."""
        arguments = {"peer": peer, "size": _finite(size, self._name), "count": count}
        found = item(self._call("reserve", arguments, deadline), "slots", list)
        slots = [_slot(fields, peer, size) for fields in found]
        if len(slots) != count:
            raise ProtocolError("the modem reserved another number of keys", device=self._name)
        for names in ({slot.key_id for slot in slots}, {slot.handle for slot in slots}):
            if len(names) != count:
                raise ProtocolError("the modem reserved one key twice", device=self._name)
        return slots

    def bind(self, peer: str, key_id: KeyId, deadline: Deadline) -> Slot:
        """Find the key that *peer* named."""
        results = self._call("bind", {"peer": peer, "key_id": bytes(key_id)}, deadline)
        return _slot({**results, "key_id": bytes(key_id)}, peer, item(results, "size", int))

    def agree(self, slot: Slot, deadline: Deadline) -> Agreement:
        """Ask whether the peer's modem has stored the same block."""
        results = self._call("agree", {"handle": slot.handle}, deadline)
        confirmed = item(results, "confirmed", bool)
        return Agreement.CONFIRMED if confirmed else Agreement.UNCHECKED

    def fetch(self, slot: Slot, out: memoryview, deadline: Deadline) -> None:
        """Read the next bytes; until ``confirm`` the same call may be repeated."""
        offset = self._offsets.get(slot.handle, 0)
        arguments = {"handle": slot.handle, "offset": offset, "size": len(out)}
        self._call("fetch", arguments, deadline, out)
        self._offsets[slot.handle] = offset + len(out)

    def confirm(self, slot: Slot, deadline: Deadline) -> None:
        """Have the modem erase what was fetched."""
        self._call("confirm", {"handle": slot.handle}, deadline)
        if self._offsets.get(slot.handle) == slot.size:
            del self._offsets[slot.handle]

    def _hello(self, deadline: Deadline) -> DeviceInfo:
        results = self._call("hello", {"version": MAJOR_VERSION}, deadline)
        version = item(results, "version", int)
        if version != MAJOR_VERSION:
            raise ProtocolError(
                f"the modem speaks version {version} of its protocol, not {MAJOR_VERSION}",
                device=self._name,
                cure="Update the older of the two",
            )
        origin = Origin.SIMULATED if item(results, "simulated", bool) else Origin.HARDWARE
        return DeviceInfo(
            vendor=item(results, "vendor", str),
            model=item(results, "model", str),
            serial_number=item(results, "serial_number", str),
            firmware=item(results, "firmware", str),
            capabilities=CAPABILITIES,
            provenance=Provenance(origin),
            site=item(results, "site", str),
            peers=(item(results, "peer", str),),
            max_key_size=item(results, "max_key_size", int),
        )

    def _call(
        self,
        operation: str,
        arguments: Mapping[str, object],
        deadline: Deadline,
        out: memoryview | None = None,
    ) -> Mapping[str, object]:
        if self._channel is None:
            raise StateError("the modem is not open", device=self._name, cure="Call init() first")
        return self._channel.call(operation, arguments, deadline, out).results


def _slot(fields: object, peer: str, size: int | None) -> Slot:
    if not isinstance(fields, dict):
        raise ProtocolError("a modem's slot is not a map")
    raw_id, handle = item(fields, "key_id", bytes), item(fields, "handle", bytes)
    if len(raw_id) != 16 or len(handle) != _HANDLE_BYTES:
        raise ProtocolError("a modem's key ID or handle has another length than 16 bytes")
    return Slot(KeyId.from_bytes(raw_id), peer, size, handle)


def _finite(size: int | None, device: str) -> int:
    if size is None:
        raise UnsupportedError("an optical modem has no streams", device=device, cure="Give a size")
    return size


def _optional(fields: Mapping[str, object], name: str) -> float | None:
    return None if fields.get(name) is None else item(fields, name, float)


def _alarm(name: object) -> Alarm:
    known = {alarm.value: alarm for alarm in Alarm}
    return known.get(str(name), Alarm.FAULT)
