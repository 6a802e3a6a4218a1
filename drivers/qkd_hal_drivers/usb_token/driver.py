"""The driver of a filled key token, however it is reached."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from qkd_hal.errors import (
    DeviceError,
    DeviceLostError,
    KeyNotFoundError,
    KeysExhaustedError,
    ProtocolError,
    StateError,
    UnsupportedError,
)
from qkd_hal.keys import Origin, Provenance, wipe
from qkd_hal.sources import Agreement, Alarm, Capability, DeviceInfo, DeviceStatus, Slot
from qkd_hal_drivers.usb_token import applet
from qkd_hal_drivers.usb_token.pin import Pin
from qkd_hal_drivers.usb_token.session import TokenSession

if TYPE_CHECKING:
    from collections.abc import Callable

    from qkd_hal.keys import KeyId
    from qkd_hal.sources import Deadline
    from qkd_hal_drivers.usb_token.applet import TokenStatus
    from qkd_hal_drivers.usb_token.card import CardLink

__all__ = ["TokenDriver"]

_CAPABILITIES: Final = frozenset(
    {
        Capability.LOOK_UP,
        Capability.EXTRACT,
        Capability.RESERVE_AHEAD,
        Capability.REPEATABLE_FETCH,
    }
)
_CLAIM_BYTES: Final = 16
_STATUS_KEY_BYTES: Final = 32  # what DeviceStatus.stored_keys counts
_MOST_KEY_BYTES: Final = 1 << 16  # as for every device, whatever a token says of itself


class TokenDriver:
    """A :class:`~qkd_hal.sources.KeyDriver`; *link* makes a way to the token, *pin_file* and
    then ``QKD_HAL_PIN`` hold its PIN."""

    def __init__(self, link: Callable[[], CardLink], pin_file: str | None) -> None:
        self._make_link = link
        self._pin_file = pin_file
        self._session: TokenSession | None = None
        self._status: TokenStatus | None = None

    def open(self, deadline: Deadline) -> DeviceInfo:
        """Reach the token, give its PIN, and see whose it is."""
        self.close()
        link = self._make_link()
        session = TokenSession(link, Pin.from_source(self._pin_file, None, link.name))
        self._session = session  # before it is open, so that close() can end the opening
        try:
            session.open(deadline)
            with session.turn(deadline):
                self._status = _status(session, None, deadline)
        except BaseException:
            session.close()
            raise
        return _described(session, self._status)

    def close(self) -> None:
        """Let go of the token; idempotent, from any thread."""
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def status(self, deadline: Deadline) -> DeviceStatus:
        """Count the keys."""
        session = self._opened()
        with session.turn(deadline):
            status = self._current(session, _STATUS_KEY_BYTES, deadline)
        return DeviceStatus(
            stored_keys=status.own_of_size,
            stored_bytes=status.own_bytes,
            alarms=frozenset() if status.own_keys else frozenset({Alarm.KEYS_LOW}),
            details={
                "peer_keys": status.peer_keys,
                "claimed_keys": status.claimed_keys,
                "free_keys": status.free_entries,
                "free_bytes": status.free_bytes,
            },
        )

    def reserve(self, peer: str, size: int | None, count: int, deadline: Deadline) -> list[Slot]:
        """Claim *count* own keys; all are there, or none is claimed."""
        session = self._opened()
        if size is None:
            raise UnsupportedError("a token has no streams", device=session.name)
        with session.turn(deadline):
            status = self._current(session, size, deadline)
            if peer != status.peer or (status.own_of_size or 0) < count:
                what = f"the token has fewer own keys of {size} bytes for {peer} than are asked for"
                raise KeysExhaustedError(what, device=session.name, cure="Fill it again")
            return [_reserved(session, peer, size, deadline) for _ in range(count)]

    def bind(self, peer: str, key_id: KeyId, deadline: Deadline) -> Slot:
        """Find the key that *peer* named among those that *peer* owns."""
        session = self._opened()
        with session.turn(deadline):
            status = self._current(session, None, deadline)
            command = applet.find(key_id)
            entry, provenance = applet.parse_found(session.ask(command, deadline, key_id))
        if entry.own or entry.key_id != key_id or peer != status.peer:
            what = f"the token has no such key of {peer}"
            raise KeyNotFoundError(what, device=session.name, key_id=key_id)
        if provenance != status.provenance:
            raise ProtocolError("the key is of another provenance", device=session.name)
        return Slot(key_id, peer, entry.size, os.urandom(_CLAIM_BYTES) + b"\0")

    def agree(self, slot: Slot, deadline: Deadline) -> Agreement:
        """Tokens cannot ask each other."""
        return Agreement.UNCHECKED

    def fetch(self, slot: Slot, out: memoryview, deadline: Deadline) -> None:
        """Read the key from its beginning; may be repeated until ``confirm``."""
        session = self._opened()
        claim, own = _claim_of(slot)
        if slot.size is not None and len(out) > slot.size:
            what = f"{len(out)} bytes were asked for, the key has {slot.size}"
            raise KeysExhaustedError(what, device=session.name, key_id=slot.key_id)
        with session.turn(deadline):
            most = session.identity.max_response_data
            for at in range(0, len(out), most):
                piece = out[at : at + most]
                command = applet.fetch(slot.key_id, claim, at, len(piece), own=own)
                material = session.ask(command, deadline, slot.key_id)
                try:
                    if len(material) != len(piece):
                        raise ProtocolError("the token gave a part of a key", device=session.name)
                    piece[:] = material
                finally:
                    wipe(material)

    def confirm(self, slot: Slot, deadline: Deadline) -> None:
        """Have the token erase the key; idempotent, as it remembers who confirmed."""
        session = self._opened()
        claim, own = _claim_of(slot)
        with session.turn(deadline):
            session.ask(applet.confirm(slot.key_id, claim, own=own), deadline, slot.key_id)

    def _opened(self) -> TokenSession:
        if self._session is None:
            raise StateError("the token is not open", cure="Call init() first")
        return self._session

    def _current(self, session: TokenSession, size: int | None, deadline: Deadline) -> TokenStatus:
        """Return the status, once it is known to be that of the token that was opened."""
        status, known = _status(session, size, deadline), self._status
        if known is None or _belongs_to(status) != _belongs_to(known):
            raise DeviceLostError(
                "the token was filled or initialised anew while it was open",
                device=session.name,
                cure="Call init() to open it again",
            )
        return status


def _status(session: TokenSession, size: int | None, deadline: Deadline) -> TokenStatus:
    command = applet.get_status(size)
    status = applet.parse_status(session.ask(command, deadline))
    if status.life is applet.Life.BLANK:
        raise DeviceError("the token is blank", device=session.name, cure="Run: qkd-hal token init")
    if size is not None and status.own_of_size is None:
        raise ProtocolError("the token does not count its keys", device=session.name)
    return status


def _belongs_to(status: TokenStatus) -> tuple[str, str, Provenance | None]:
    return status.site, status.peer, status.provenance


def _described(session: TokenSession, status: TokenStatus) -> DeviceInfo:
    identity = session.identity
    return DeviceInfo(
        vendor=identity.vendor,
        model=identity.model,
        serial_number=identity.serial_number,
        firmware=identity.firmware,
        capabilities=_CAPABILITIES,
        provenance=status.provenance or Provenance(Origin.UNKNOWN),
        site=status.site,
        peers=(status.peer,),
        max_key_size=min(identity.max_key_size, _MOST_KEY_BYTES),
    )


def _reserved(session: TokenSession, peer: str, size: int, deadline: Deadline) -> Slot:
    claim = os.urandom(_CLAIM_BYTES)
    key_id = applet.parse_key_id(session.ask(applet.reserve(claim, size), deadline))
    return Slot(key_id, peer, size, claim + b"\1")


def _claim_of(slot: Slot) -> tuple[bytes, bool]:
    """Return the claim, and whether it is on an own key."""
    return slot.handle[:_CLAIM_BYTES], slot.handle[_CLAIM_BYTES:] == b"\1"
