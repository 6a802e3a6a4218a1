"""A pair of boxes in this process, drivers that keep every promise, and a hand on the plug."""

from __future__ import annotations

import hmac
import itertools
import os
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from qkd_hal.errors import (
    DeadlineError,
    DeviceClosedError,
    DeviceLostError,
    DeviceNotFoundError,
    KeyNotFoundError,
    KeysExhaustedError,
    ProtocolError,
    UnsupportedError,
)
from qkd_hal.keys import KeyId, Origin, Provenance
from qkd_hal.sources import Agreement, Alarm, Capability, DeviceInfo, DeviceStatus, Slot

if TYPE_CHECKING:
    from collections.abc import Callable

    from qkd_hal.registry import DeviceURL
    from qkd_hal.sources import Deadline

__all__ = [
    "EVERYTHING",
    "PLAIN",
    "TOKEN",
    "Box",
    "Cutter",
    "MemoryDriver",
    "MemoryEmulator",
    "make_boxes",
    "open_line",
]

EVERYTHING = frozenset(Capability)
PLAIN = frozenset({Capability.EXTRACT})
TOKEN = frozenset({Capability.DERIVE})

_STREAM_BYTES = 4096
_SLICE = 0.01  # seconds between two looks at a stalled box

T = TypeVar("T")


@dataclass
class Key:
    """One key in both boxes; ``position`` says up to where each site has erased it."""

    owner: str
    size: int | None
    material: bytes = field(repr=False)
    position: dict[str, int] = field(default_factory=dict)


@dataclass
class Box:
    """The hardware. ``plugging`` counts how often it was plugged in."""

    site: str
    peer: str
    keys: dict[KeyId, Key]
    capabilities: frozenset[Capability]
    plugged: bool = True
    plugging: int = 0
    fault: str | None = None
    requests: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def reserve(self, size: int | None) -> KeyId:
        key_id = KeyId.random()
        self.keys[key_id] = Key(self.site, size, os.urandom(size or _STREAM_BYTES))
        return key_id

    def find(self, key_id: KeyId) -> Key:
        """Return a key of which something is left here."""
        key = self.keys.get(key_id)
        if key is None or key.position.get(self.site, 0) >= len(key.material):
            raise KeyNotFoundError("unknown or taken", key_id=key_id)
        return key

    def bind(self, peer: str, key_id: KeyId) -> Key:
        key = self.find(key_id)
        if key.owner != peer or peer == self.site:
            raise KeyNotFoundError("not of this peer", key_id=key_id)
        return key

    def read(self, key_id: KeyId, begin: int, size: int) -> bytes:
        key = self.find(key_id)
        if begin < key.position.get(self.site, 0):
            raise KeyNotFoundError("taken", key_id=key_id)
        if begin + size > len(key.material):
            raise KeysExhaustedError("the key has an end", key_id=key_id)
        return key.material[begin : begin + size]

    def erase(self, key_id: KeyId, end: int | None) -> None:
        key = self.keys[key_id]
        end = len(key.material) if end is None else end
        key.position[self.site] = max(end, key.position.get(self.site, 0))
        if len(key.position) == 2 and min(key.position.values()) >= len(key.material):
            key.material = bytes(len(key.material))


BOXES: dict[str, Box] = {}
"""What hangs on which line. Drivers know the line only, as they would know a port."""

_numbers = itertools.count(1)


def make_boxes(*capabilities: frozenset[Capability]) -> tuple[str, str]:
    """Make two boxes that share keys, and return the lines at which they hang."""
    keys: dict[KeyId, Key] = {}
    number = next(_numbers)
    lines = f"memory-{number}-alice", f"memory-{number}-bob"
    claims = (*capabilities, *capabilities)
    BOXES[lines[0]] = Box("alice", "bob", keys, claims[0])
    BOXES[lines[1]] = Box("bob", "alice", keys, claims[1])
    return lines


class MemoryDriver:
    """A :class:`~qkd_hal.sources.KeyDriver` that keeps every promise."""

    def __init__(self, line: str) -> None:
        self.line = line
        self._plugging = -1
        self._closed = threading.Event()
        self._offsets: dict[KeyId, int] = {}

    @property
    def box(self) -> Box:
        return BOXES[self.line]

    def open(self, deadline: Deadline) -> DeviceInfo:
        if not self.box.plugged:
            raise DeviceNotFoundError("nothing is plugged in", device=self.line)
        self._closed.clear()
        self._offsets.clear()
        self._plugging = self.box.plugging
        return DeviceInfo(
            vendor="Example",
            model="Memory",
            serial_number=f"SN-{self.box.site}",
            firmware="1.0",
            capabilities=self.box.capabilities,
            provenance=Provenance(Origin.SIMULATED),
            site=self.box.site,
            peers=(self.box.peer,),
        )

    def close(self) -> None:
        self._closed.set()

    def status(self, deadline: Deadline) -> DeviceStatus:
        status = DeviceStatus(
            qber=0.01,
            secret_key_rate_bps=1000.0,
            stored_bytes=1 << 20,
            alarms=frozenset({Alarm.PAD_LOW}),
            details={"temperature": 20.5},
        )
        return self.ask(lambda _: status, deadline)

    def reserve(self, peer: str, size: int | None, count: int, deadline: Deadline) -> list[Slot]:
        if peer != self.box.peer:
            raise KeysExhaustedError("no keys for this peer")
        if size is None and Capability.STREAM not in self.box.capabilities:
            raise UnsupportedError("no streams")
        names = self.ask(lambda box: [box.reserve(size) for _ in range(count)], deadline)
        return [Slot(name, peer, size) for name in names]

    def bind(self, peer: str, key_id: KeyId, deadline: Deadline) -> Slot:
        key = self.ask(lambda box: box.bind(peer, key_id), deadline)
        return Slot(key_id, peer, key.size)

    def agree(self, slot: Slot, deadline: Deadline) -> Agreement:
        self.ask(lambda box: None, deadline)
        can = Capability.CONFIRM_PEER in self.box.capabilities
        return Agreement.CONFIRMED if can else Agreement.UNCHECKED

    def fetch(self, slot: Slot, out: memoryview, deadline: Deadline) -> None:
        begin = self._offsets.get(slot.key_id, 0)
        out[:] = self.ask(lambda box: box.read(slot.key_id, begin, len(out)), deadline)
        self._offsets[slot.key_id] = begin + len(out)

    def confirm(self, slot: Slot, deadline: Deadline) -> None:
        end = None if slot.size else self._offsets.get(slot.key_id, 0)
        self.ask(lambda box: box.erase(slot.key_id, end), deadline)
        if slot.size:
            self._offsets.pop(slot.key_id, None)

    def ask(self, work: Callable[[Box], T], deadline: Deadline) -> T:
        """Have the box do *work*, over a line that may stall, lose or spoil the answer."""
        self._wait(deadline)
        with self.box.lock:
            answer = work(self.box)
            self.box.requests += 1
            odd = self.box.requests % 2
        if odd and self.box.fault == "drop":
            raise DeadlineError("the answer was lost", device=self.line)
        if odd and self.box.fault == "corrupt":
            raise ProtocolError("the answer was spoilt", device=self.line)
        return answer

    def _wait(self, deadline: Deadline) -> None:
        while True:
            if self._closed.is_set():
                raise DeviceClosedError("closed", device=self.line)
            if not self.box.plugged or self._plugging != self.box.plugging:
                raise DeviceLostError("unplugged", device=self.line)
            deadline.check("the box answers", device=self.line)
            if self.box.fault != "stall":
                return
            self._closed.wait(_SLICE)


class DerivingDriver(MemoryDriver):
    """The same for a box that can derive inside."""

    def derive(self, slot: Slot, label: bytes, size: int, deadline: Deadline) -> bytearray:
        key = self.ask(lambda box: box.find(slot.key_id), deadline)
        return bytearray(hkdf_expand(key.material, label, size))


class Cutter:
    """A :class:`~qkd_hal.emulators.Disturbable` for boxes in this process."""

    faults = frozenset({"stall", "drop", "corrupt"})

    def __init__(self, lines: tuple[str, str]) -> None:
        self._boxes = {BOXES[line].site: BOXES[line] for line in lines}

    def unplug(self, end: str) -> None:
        self._boxes[end].plugged = False

    def plug(self, end: str) -> None:
        box = self._boxes[end]
        box.plugging += not box.plugged
        box.plugged = True

    def fault(self, end: str, name: str | None) -> None:
        self._boxes[end].fault = name


def hkdf_expand(key: bytes, label: bytes, size: int) -> bytes:
    block, out = b"", b""
    while len(out) < size:
        block = hmac.digest(key, block + label + bytes([len(out) // 32 + 1]), "sha256")
        out += block
    return out[:size]


def open_line(url: DeviceURL) -> MemoryDriver:
    """Make the driver of ``memory:LINE``."""
    return DerivingDriver(url.path)


class MemoryEmulator(Cutter):
    """A pair of boxes that can do all there is, as an emulator offers it."""

    def __init__(self) -> None:
        lines = make_boxes(EVERYTHING)
        super().__init__(lines)
        self.alice_url, self.bob_url = (f"memory:{line}" for line in lines)
        self.closed = False

    def close(self) -> None:
        self.closed = True
