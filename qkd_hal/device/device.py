"""The device: one API over every driver, which it holds and nobody subclasses."""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING

from qkd_hal.device._delivery import Delivery
from qkd_hal.device._hooks import HookRunner, logger
from qkd_hal.device._state import DeviceState
from qkd_hal.device.events import Watch
from qkd_hal.device.session import QKDSession
from qkd_hal.errors import (
    DeviceClosedError,
    DeviceError,
    KeyNotFoundError,
    ProtocolError,
    QKDError,
    UnsupportedError,
    UsageError,
)
from qkd_hal.keys import KeyRef, QuantumKey, check_name
from qkd_hal.sources import Capability, Deadline

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qkd_hal.device.events import Event
    from qkd_hal.keys import KeyId
    from qkd_hal.sources import DeviceInfo, DeviceStatus, KeyDriver, Slot

__all__ = ["QKDDevice"]

_UNNAMED_SITE = "local"  # owner in a KeyRef where a device does not know its own name


class QKDDevice:
    """A quantum key distribution device behind *driver*.

    *name* is what messages and logs call it; *default_peer* the other site where a call
    names none; *timeout* the seconds of a call that names none. Safe from any thread: one
    call at a time reaches the driver. Every method raises :class:`DeadlineError` when its
    time is up, :class:`DeviceLostError` when the device went away, and
    :class:`DeviceClosedError` when :meth:`close` came meanwhile.
    """

    def __init__(
        self,
        driver: KeyDriver,
        *,
        name: str,
        default_peer: str | None = None,
        timeout: float = 10.0,
    ) -> None:
        self.name = name
        self.timeout = timeout
        self._default_peer = default_peer
        self._info: DeviceInfo | None = None
        self._runner = HookRunner(driver, name)
        self._runner.on_lost = lambda: self._abandon_sessions("lost")
        self._sessions: weakref.WeakSet[QKDSession] = weakref.WeakSet()
        self._sessions_mutex = threading.Lock()
        self._closed = threading.Event()

    @property
    def state(self) -> DeviceState:
        """Where the device is in its life."""
        return self._runner.machine.state

    @property
    def info(self) -> DeviceInfo:
        """What the device is: vendor, model, serial number, capabilities, provenance."""
        self._runner.require("info")
        return self._known()

    def init(self, timeout: float | None = None) -> DeviceInfo:
        """Connect and identify the device (``QKD_INIT``); again after a loss.

        Raises:
            DeviceNotFoundError, DevicePermissionError, DeviceBusyError: with the cure.
        """
        deadline = self._deadline(timeout)
        self._runner.run("init", lambda: self._open(deadline), deadline)
        return self._known()

    def status(self, timeout: float | None = None) -> DeviceStatus:
        """Ask the device how it fares: QBER, key rate, stored keys, alarms."""
        deadline = self._deadline(timeout)
        return self._runner.run("status", lambda: self._runner.driver.status(deadline), deadline)

    def start(
        self,
        peer: str | None = None,
        *,
        size: int | None = 32,
        key_id: KeyId | None = None,
        timeout: float | None = None,
    ) -> QKDSession:
        """Begin a session with *peer* (``QKD_START``).

        Without *key_id* this end is the initiator: the device reserves a fresh key of *size*
        bytes, or a stream for ``size=None``. With *key_id* it is the responder and binds the
        key that the initiator named, in the size that the initiator chose.

        Raises:
            KeysExhaustedError: not enough key is in store.
            KeyNotFoundError: *key_id* is unknown, expired, or was taken.
            UnsupportedError: ``size=None`` on a device without streams.
        """
        deadline = self._deadline(timeout)
        self._runner.require("start")
        peer = self._peer(peer)
        if key_id is not None:
            return self._runner.run("start", lambda: self._bound(peer, key_id, deadline), deadline)
        self._check_size(size)
        return self._runner.run("start", lambda: self._reserved(peer, size, deadline), deadline)

    def get_key_by_id(
        self,
        key_id: KeyId,
        peer: str | None = None,
        *,
        size: int | None = None,
        timeout: float | None = None,
    ) -> QuantumKey:
        """Hand out the whole key that *peer* named, once.

        Raises:
            KeyNotFoundError: unknown, expired, taken before, or not of *size* bytes; nothing
                is consumed.
            UnsupportedError: the device has no look-up, only sessions, or keeps its keys inside.
        """
        deadline = self._deadline(timeout)
        self._runner.require("get_key_by_id")
        self._require_capability(Capability.LOOK_UP, "get_key_by_id()", "Call start(key_id=…)")
        self._require_capability(Capability.EXTRACT, "keys that leave it", "Use derive()")
        peer = self._peer(peer)
        slot = self._runner.run(
            "get_key_by_id", lambda: self._bind(peer, key_id, deadline), deadline
        )
        size = self._whole(slot, size)
        material = self._delivery(slot).bring("get_key_by_id", size, deadline)
        ref = KeyRef(peer, key_id)
        return QuantumKey(material, provenance=self._known().provenance, ref=ref)

    def events(self, interval: float = 1.0) -> Iterator[Event]:
        """Yield what changes, from one status every *interval* seconds.

        Ends when the device closes, or after ``DEVICE_LOST``. A poll that finds the device
        busy until its deadline is left out.
        """
        self._runner.require("events")
        return self._watched(interval)

    def close(self) -> None:
        """Release the device; idempotent, from any thread, wakes a blocked call.

        Sessions close with it. It does not wait for the blocked call.
        """
        if self._runner.forked:
            return  # the connection is the parent's: neither ours to end nor to say good-bye on
        self._runner.settle_up()
        if self._runner.machine.advance("close") is DeviceState.CLOSED:
            return
        self._abandon_sessions("lost")
        self._closed.set()
        self._close_driver()
        logger.info("%s: closed", self.name)

    def __enter__(self) -> QKDDevice:
        try:
            self.init()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<QKDDevice {self.name}, {self.state.value}>"

    def _deadline(self, timeout: float | None) -> Deadline:
        return Deadline(self.timeout if timeout is None else timeout)

    def _known(self) -> DeviceInfo:
        assert self._info is not None  # noqa: S101 - the state table lets nobody here before init
        return self._info

    def _open(self, deadline: Deadline) -> None:
        if self.state is DeviceState.READY:
            return
        self._info = self._plausible(self._runner.driver.open(deadline))
        try:
            self._runner.machine.advance("init")
        except DeviceClosedError:
            self._close_driver()  # close() came before the driver had anything to close
            raise
        logger.info("%s: %r %r is ready", self.name, self._info.vendor, self._info.model)

    def _plausible(self, info: DeviceInfo) -> DeviceInfo:
        try:
            for name in (info.site, *info.peers):
                check_name(name or _UNNAMED_SITE)
        except UsageError as error:
            raise ProtocolError(
                f"the device names itself wrongly: {error}", device=self.name
            ) from None
        return info

    def _close_driver(self) -> None:
        try:
            self._runner.driver.close()
        except Exception as error:  # noqa: BLE001 - close() is also called while errors fly
            logger.warning("%s: closing failed with %s", self.name, type(error).__name__)

    def _peer(self, peer: str | None) -> str:
        peers = self._known().peers
        chosen = peer or self._default_peer or (peers[0] if len(peers) == 1 else None)
        if chosen is None:
            cure = f"Say which: {', '.join(peers)}" if peers else "Pass peer="
            raise UsageError("the call names no peer", device=self.name, cure=cure)
        return check_name(chosen)

    def _check_size(self, size: int | None) -> None:
        if size is None:
            self._require_capability(Capability.STREAM, "a session without size", "Pass size=")
            return
        most = self._known().max_key_size
        if not isinstance(size, int) or not 1 <= size <= most:
            raise UsageError(f"a key has 1 to {most} bytes here, not {size!r}", device=self.name)

    def _require_capability(self, capability: Capability, what: str, cure: str) -> None:
        if capability not in self._known().capabilities:
            raise UnsupportedError(f"the device does not offer {what}", device=self.name, cure=cure)

    def _reserved(self, peer: str, size: int | None, deadline: Deadline) -> QKDSession:
        slots = self._runner.driver.reserve(peer, size, 1, deadline)
        if len(slots) != 1 or slots[0].size != size:
            raise DeviceError("the driver reserved something else than asked", device=self.name)
        return self._session(slots[0], self._known().site or _UNNAMED_SITE)

    def _bound(self, peer: str, key_id: KeyId, deadline: Deadline) -> QKDSession:
        with self._sessions_mutex:
            bound = any(one.key_id == key_id and one.alive for one in self._sessions)
        if bound or self._runner.owes(key_id):
            what = "another session used this key, and the device has not erased it yet"
            raise KeyNotFoundError(what, device=self.name, key_id=key_id, cure="Close that session")
        return self._session(self._bind(peer, key_id, deadline), peer)

    def _bind(self, peer: str, key_id: KeyId, deadline: Deadline) -> Slot:
        slot = self._runner.driver.bind(peer, key_id, deadline)
        if slot.key_id != key_id:
            raise DeviceError("the driver bound another key", device=self.name, key_id=key_id)
        if slot.size is not None and not 1 <= slot.size <= self._known().max_key_size:
            what = f"the driver bound a key of {slot.size} bytes"
            raise DeviceError(what, device=self.name, key_id=key_id)
        return slot

    def _whole(self, slot: Slot, size: int | None) -> int:
        if slot.size is None:
            raise UnsupportedError("a stream is no key to look up", device=self.name)
        if size not in (None, slot.size):
            what = f"the key has {slot.size} bytes, not {size}"
            raise KeyNotFoundError(what, device=self.name, key_id=slot.key_id)
        return slot.size

    def _delivery(self, slot: Slot) -> Delivery:
        repeatable = Capability.REPEATABLE_FETCH in self._known().capabilities
        return Delivery(self._runner, slot, repeatable=repeatable)

    def _session(self, slot: Slot, owner: str) -> QKDSession:
        ref = KeyRef(owner, slot.key_id)
        session = QKDSession(self._delivery(slot), self._known(), ref, timeout=self.timeout)
        with self._sessions_mutex:
            self._sessions.add(session)
        return session

    def _abandon_sessions(self, event: str) -> None:
        with self._sessions_mutex:
            sessions = list(self._sessions)
        for session in sessions:
            session.abandon(event)

    def _watched(self, interval: float) -> Iterator[Event]:
        watch = Watch(self.name)
        while True:
            yield from watch.note(self._polled())
            if watch.ended:
                return
            self._closed.wait(interval)

    def _polled(self) -> DeviceStatus | QKDError:
        try:
            return self.status()
        except QKDError as error:
            return error
