"""A real pair of drivers that share memory instead of a fibre, with switches for faults."""

from __future__ import annotations

import hmac
import os
import threading
from collections import defaultdict, deque
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import pytest

from qkd_hal.device import QKDDevice
from qkd_hal.errors import (
    DeadlineError,
    DeviceClosedError,
    KeyMismatchError,
    KeyNotFoundError,
    KeysExhaustedError,
)
from qkd_hal.keys import KeyId, Origin, Provenance
from qkd_hal.sources import Agreement, Capability, DeviceInfo, DeviceStatus, Slot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qkd_hal.sources import Deadline

ALL = frozenset(Capability) - {Capability.DERIVE}


@dataclass
class Entry:
    """One key as both ends hold it; ``readers`` marks the ends that fetched."""

    owner: str
    size: int | None
    material: bytes
    read: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    erased: set[str] = field(default_factory=set)


class Link:
    """What two memory drivers share: the keys, and how many bytes are left to reserve."""

    def __init__(self) -> None:
        self.entries: dict[KeyId, Entry] = {}
        self.stored_bytes = 1 << 20
        self.differing: set[KeyId] = set()

    def reserve(self, owner: str, size: int | None) -> KeyId:
        need = 4096 if size is None else size
        if need > self.stored_bytes:
            raise KeysExhaustedError("the memory link ran dry")
        self.stored_bytes -= need
        key_id = KeyId.random()
        self.entries[key_id] = Entry(owner, size, os.urandom(need))
        return key_id


class MemoryDriver:
    """A key driver over a :class:`Link`. ``faults[hook]`` lists what its next calls do first."""

    def __init__(
        self, link: Link, site: str, peer: str, capabilities: frozenset[Capability] = ALL
    ) -> None:
        self.link, self.site, self.peer = link, site, peer
        self.capabilities = capabilities
        self.faults: dict[str, deque[Callable[[], None]]] = defaultdict(deque)
        self.calls: list[str] = []
        self.open_count = 0
        self.close_count = 0
        self.health = DeviceStatus(qber=0.01, link_up=True)
        self.last_out = memoryview(b"")
        self.blocked = threading.Event()
        self._wake = threading.Event()

    def fail(self, hook: str, *errors: Exception) -> None:
        """Let the next calls of *hook* raise *errors*, before they do anything."""
        for error in errors:
            self.faults[hook].append(partial(_raise, error))

    def hang(self, hook: str, then: Exception | None = None) -> None:
        """Let the next call of *hook* block until close, then raise *then*."""
        self.faults[hook].append(lambda: self._block(then or DeviceClosedError("woken")))

    def open(self, deadline: Deadline) -> DeviceInfo:
        self._enter("open")
        self.open_count += 1
        return DeviceInfo(
            vendor="Example",
            model="Memory",
            serial_number="1",
            firmware="1",
            capabilities=self.capabilities,
            provenance=Provenance(Origin.SIMULATED),
            site=self.site,
            peers=(self.peer,),
        )

    def close(self) -> None:
        self.close_count += 1
        self._wake.set()

    def status(self, deadline: Deadline) -> DeviceStatus:
        self._enter("status", deadline)
        return self.health

    def reserve(self, peer: str, size: int | None, count: int, deadline: Deadline) -> list[Slot]:
        self._enter("reserve", deadline)
        return [Slot(self.link.reserve(self.site, size), peer, size) for _ in range(count)]

    def bind(self, peer: str, key_id: KeyId, deadline: Deadline) -> Slot:
        self._enter("bind", deadline)
        entry = self.link.entries.get(key_id)
        if entry is None or entry.owner != peer or self.site in entry.erased:
            raise KeyNotFoundError("unknown or taken", key_id=key_id)
        return Slot(key_id, peer, entry.size)

    def agree(self, slot: Slot, deadline: Deadline) -> Agreement:
        self._enter("agree", deadline)
        if slot.key_id in self.link.differing:
            raise KeyMismatchError("the ends differ", key_id=slot.key_id)
        return Agreement.CONFIRMED

    def fetch(self, slot: Slot, out: memoryview, deadline: Deadline) -> None:
        self._enter("fetch", deadline)
        entry = self.link.entries[slot.key_id]
        if self.site in entry.erased:
            raise KeyNotFoundError("erased", key_id=slot.key_id)
        self.last_out = out
        begin = entry.read[self.site] if slot.size is None else 0
        if begin + len(out) > len(entry.material):
            raise KeysExhaustedError("the stream ran dry", key_id=slot.key_id)
        out[:] = entry.material[begin : begin + len(out)]
        entry.read[self.site] = begin + len(out)
        self._enter("after fetch")

    def confirm(self, slot: Slot, deadline: Deadline) -> None:
        self._enter("confirm", deadline)
        if slot.size is not None:
            self.link.entries[slot.key_id].erased.add(self.site)

    def erased(self, key_id: KeyId) -> bool:
        """Whether this end was told to erase the key."""
        return self.site in self.link.entries[key_id].erased

    def _enter(self, hook: str, deadline: Deadline | None = None) -> None:
        self.calls.append(hook)
        if self.faults[hook]:
            self.faults[hook].popleft()()
        if deadline is not None and deadline.expired:
            raise DeadlineError(f"no time for {hook}")

    def _block(self, then: Exception) -> None:
        self.blocked.set()
        assert self._wake.wait(60), "nobody closed the device"
        raise then


class DerivingDriver(MemoryDriver):
    """A token: keys stay inside, derivation happens there."""

    def __init__(self, link: Link, site: str, peer: str) -> None:
        super().__init__(link, site, peer, (ALL | {Capability.DERIVE}) - {Capability.EXTRACT})

    def derive(self, slot: Slot, label: bytes, size: int, deadline: Deadline) -> bytearray:
        self._enter("derive", deadline)
        entry = self.link.entries[slot.key_id]
        if self.site in entry.erased:
            raise KeyNotFoundError("erased", key_id=slot.key_id)
        return bytearray(_hkdf_expand(entry.material, label, size))


@dataclass
class Pair:
    """Two devices on one link, initialised, and their drivers."""

    link: Link
    alice_driver: MemoryDriver
    bob_driver: MemoryDriver
    alice: QKDDevice
    bob: QKDDevice


def make_pair(
    capabilities: frozenset[Capability] = ALL,
    kind: Callable[..., MemoryDriver] = MemoryDriver,
) -> Pair:
    link = Link()
    extra = () if kind is DerivingDriver else (capabilities,)
    drivers = kind(link, "alice", "bob", *extra), kind(link, "bob", "alice", *extra)
    devices = [QKDDevice(driver, name=f"{driver.site}'s") for driver in drivers]
    return Pair(link, *drivers, *devices)


@pytest.fixture
def new_pair() -> Iterator[Callable[..., Pair]]:
    """Make initialised pairs with other capabilities; closes them."""
    made: list[Pair] = []

    def make(
        capabilities: frozenset[Capability] = ALL,
        kind: Callable[..., MemoryDriver] = MemoryDriver,
    ) -> Pair:
        pair = make_pair(capabilities, kind)
        made.append(pair)
        pair.alice.init()
        pair.bob.init()
        return pair

    yield make
    for pair in made:
        pair.alice.close()
        pair.bob.close()


@pytest.fixture
def pair(new_pair: Callable[..., Pair]) -> Pair:
    """Two initialised devices on one link, with every capability but DERIVE."""
    return new_pair()


@pytest.fixture
def token_pair(new_pair: Callable[..., Pair]) -> Pair:
    """Two initialised tokens: keys stay inside, derivation happens there."""
    return new_pair(kind=DerivingDriver)


@pytest.fixture
def raw_driver() -> MemoryDriver:
    """A driver that nobody opened, of the site alice."""
    return MemoryDriver(Link(), "alice", "bob")


def _raise(error: Exception) -> None:
    raise error


def _hkdf_expand(key: bytes, label: bytes, size: int) -> bytes:
    block, out = b"", b""
    while len(out) < size:
        block = hmac.digest(key, block + label + bytes([len(out) // 32 + 1]), "sha256")
        out += block
    return out[:size]
