"""The two ends under test, and the steps of which the checks are made.

Key bytes never stand in a variable of a check, where a failure would print them: checks
compare fingerprints, which mean nothing outside this run.
"""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from qkd_hal.device import DeviceState
from qkd_hal.errors import (
    DeadlineError,
    DeviceError,
    KeyMaterialError,
    KeysExhaustedError,
    UnsupportedError,
)
from qkd_hal.keys import QuantumKey
from qkd_hal.sources import Capability, Deadline, Derives

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qkd_hal.device import QKDDevice, QKDSession
    from qkd_hal.keys import KeyId
    from qkd_hal.sources import KeyDriver, Slot

__all__ = ["SECONDS", "SIZE", "End", "Ends", "driver_of", "fingerprint", "refused"]

SIZE = 32  # bytes in each key of the checks: what TLS asks for, and the least for derive()
SECONDS = 10.0  # for calls below the base, which have no default
_LABEL = b"qkd-hal conformance"
_POLL = 0.05  # seconds between two looks for fresh keys
_SALT = os.urandom(16)


def fingerprint(key: QuantumKey) -> bytes:
    """Return what stands for *key* in a comparison; consumes it."""
    with key.exposed() as view:
        return hashlib.blake2b(view, key=_SALT, digest_size=16).digest()


def driver_of(device: QKDDevice) -> KeyDriver:
    """Return the driver itself, for promises that the base would cover up."""
    return device._runner.driver  # noqa: SLF001 - same distribution


@contextmanager
def refused(*errors: type[BaseException], otherwise: str, match: str = "") -> Iterator[None]:
    """Pass where the block raises one of *errors* with *match* in it; fail with *otherwise*."""
    told = None
    try:
        yield
    except errors as error:
        told = str(error)
    if told is None:
        pytest.fail(otherwise)
    assert match in told, f"{told:.200} does not mention {match}"


class End:
    """One device. *other* is the device at the far end, where the run has it."""

    def __init__(self, device: QKDDevice, other: QKDDevice | None, patience: float) -> None:
        self.device = device
        self._other = other
        self._patience = patience
        self.both_extract = all(
            Capability.EXTRACT in one.info.capabilities for one in (device, other or device)
        )

    @property
    def peer(self) -> str | None:
        """What this end calls the other."""
        return (self._other.info.site or None) if self._other else None

    def claims(self, capability: Capability) -> bool:
        """Tell whether the device says that it can."""
        return capability in self.device.info.capabilities

    def start(self, size: int | None = SIZE) -> QKDSession:
        """Start a fresh session, once the device has key enough."""
        patience = Deadline(self._patience)
        while True:
            try:
                return self.device.start(self.peer, size=size)
            except KeysExhaustedError:
                if patience.expired:
                    raise
                time.sleep(_POLL)

    def begin(self, size: int | None = SIZE) -> QKDSession:
        """Start a fresh session and connect it."""
        return _connected(self.start(size))

    def answer(self, key_id: KeyId) -> QKDSession:
        """Bind the key that the other end started, and connect."""
        return _connected(self.device.start(self.peer, key_id=key_id))

    def reserve(self, count: int = 1) -> list[Slot]:
        """Have the driver itself reserve keys, below the base."""
        self.give()  # waits until there are keys
        peer = self.peer or next(iter(self.device.info.peers), None)
        if peer is None:
            pytest.skip("needs --peer: the device names no peer")
        driver = driver_of(self.device)
        slots = driver.reserve(peer, SIZE, count, Deadline(SECONDS))
        for slot in slots:
            driver.agree(slot, Deadline(SECONDS))
        return slots

    def fetch(self, slot: Slot, seconds: float = SECONDS) -> QuantumKey:
        """Have the driver itself fetch, or derive where keys stay inside, below the base."""
        driver, deadline = driver_of(self.device), Deadline(seconds)
        out = bytearray(SIZE)
        if self.both_extract:
            driver.fetch(slot, memoryview(out), deadline)
        elif isinstance(driver, Derives):
            out = driver.derive(slot, _LABEL, SIZE, deadline)
        return QuantumKey(out, provenance=self.device.info.provenance)

    def value(self, session: QKDSession) -> bytes:
        """Return the fingerprint of the session's key, or of one derived from it.

        The key itself only where both ends let it out.
        """
        if self.both_extract:
            return fingerprint(session.get_key())
        return fingerprint(session.derive(_LABEL))

    def give(self) -> tuple[KeyId, bytes]:
        """Use up a fresh key here; return its name and fingerprint."""
        with self.begin() as session:
            return session.key_id, self.value(session)

    def take(self, key_id: KeyId) -> bytes:
        """Use up the key that the other end named, and return its fingerprint."""
        if self.both_extract and self.claims(Capability.LOOK_UP):
            return fingerprint(self.device.get_key_by_id(key_id, self.peer))
        with self.answer(key_id) as session:
            return self.value(session)

    def take_if_there(self, key_id: KeyId) -> bytes | None:
        """Do the same, or return ``None`` where the device refuses."""
        try:
            return self.take(key_id)
        except KeyMaterialError:
            return None

    def keeps_keys_inside(self) -> None:
        """Check that a device without EXTRACT says so instead of giving bytes."""
        why = f"{self.device.name} does not claim extract, and gave key bytes"
        with self.begin() as session, refused(UnsupportedError, otherwise=why):
            session.get_key()

    def recover(self) -> None:
        """Open the device again if it failed."""
        patience = Deadline(self._patience)
        while self.device.state is not DeviceState.READY:
            with suppress(DeviceError, DeadlineError):
                self.device.init()
                return
            patience.check("the device is plugged in again", device=self.device.name)
            time.sleep(_POLL)


@dataclass(frozen=True)
class Ends:
    """Both ends of a link."""

    alice: End
    bob: End

    @property
    def devices(self) -> tuple[QKDDevice, QKDDevice]:
        """The two devices."""
        return self.alice.device, self.bob.device

    def extract(self) -> bool:
        """Tell whether key bytes can be compared; an end that lets none out must refuse to."""
        for end in (self.alice, self.bob):
            if not end.claims(Capability.EXTRACT):
                end.keeps_keys_inside()
        return self.alice.both_extract

    def exchange(self, *, back: bool = False) -> KeyId:
        """Use up one key at both ends, started by alice or, the other way, by bob."""
        first, second = (self.bob, self.alice) if back else (self.alice, self.bob)
        key_id, value = first.give()
        assert second.take(key_id) == value, "the two ends got different bytes"
        return key_id

    @contextmanager
    def sessions(self, size: int | None = SIZE) -> Iterator[tuple[QKDSession, QKDSession]]:
        """Open connected sessions of one key at both ends."""
        with self.alice.start(size) as ours:
            theirs = self.bob.device.start(self.bob.peer, key_id=ours.key_id)
            with theirs:
                ours.connect()
                theirs.connect()
                yield ours, theirs


def _connected(session: QKDSession) -> QKDSession:
    try:
        session.connect()
    except BaseException:
        session.close()
        raise
    return session
