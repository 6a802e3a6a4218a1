"""Two boxes that speak boxlink, with faults by chance: behind serial lines, and on a USB bus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from qkd_hal import open_device
from qkd_hal.keys import KeyId
from qkd_hal.private_files import create_private
from qkd_hal_firmware_mocks.boxlink.byte_line import BoxLine
from qkd_hal_firmware_mocks.boxlink.pair import BoxPair, make_settings
from qkd_hal_firmware_mocks.boxlink.server import BOX_FAULTS
from qkd_hal_firmware_mocks.boxlink.settings import STREAM_CHUNK, USB_CHUNK
from qkd_hal_firmware_mocks.boxlink.usb import USB_FAULTS, BoxUsb
from qkd_hal_firmware_mocks.faults import FaultPlan
from qkd_hal_firmware_mocks.ports import pty_port, tcp_port
from tests.soak.ledger import Ledger
from tests.soak.usb_plug import UsbPlug

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path
    from random import Random

    from qkd_hal.device import QKDDevice
    from qkd_hal_firmware_mocks.boxlink.box import BoxFirmware
    from qkd_hal_firmware_mocks.boxlink.server import BoxServer
    from qkd_hal_firmware_mocks.usb.virtual_bus import VirtualBus

__all__ = ["BoxWorld", "serial_boxes", "usb_boxes"]

_RATE = 0.06  # of requests that meet a fault
_SLOW = {"delay", "dribble", "endless", "garbage", "nak", "stall", "unplug"}
_LINK_DOWN = 0.1  # seconds
_SILENCE = 3.5  # seconds: more than a call's time with what it is allowed beyond it
_NAMES = ("alice", "bob")
_PSKS = (bytes(range(32)), bytes(range(1, 33)))
_STORED = 1 << 30  # bytes of key in either direction


class BoxWorld:
    """Boxes ``alice`` and ``bob``; *serve* brings one to where a host finds it."""

    names = _NAMES
    pace = 1.0

    def __init__(self, seed: int, directory: Path, max_chunk: int) -> None:
        self.ledger = Ledger()
        self._seed = seed
        self.pair = BoxPair(make_settings(_PSKS, max_chunk=max_chunk), seed=seed, stored=_STORED)
        self.directory = directory / str(seed)
        self.directory.mkdir(mode=0o700)
        self._urls: dict[str, str] = {}
        self._servers: list[BoxServer] = []
        self._plans: list[FaultPlan] = []
        for name, psk in zip(_NAMES, _PSKS, strict=True):
            create_private(self._psk(name), psk.hex().encode())
            _write_down(self.pair.boxes[name], self.ledger)

    def plan(self, name: str, faults: Iterable[str]) -> FaultPlan:
        """Return a new plan for box *name*; faults that take long are rarer."""
        names = [each for each in sorted(faults) for _ in range(1 if each in _SLOW else 3)]
        seed = 2 * self._seed + _NAMES.index(name)
        self._plans.append(FaultPlan(seed=seed, rate=_RATE, names=names))
        return self._plans[-1]

    def put(self, name: str, url: str, server: BoxServer, plug: Any) -> None:
        """Note where box *name* is to be found, and its *plug*."""
        self._urls[name] = f"{url}?credential={quote(str(self._psk(name)))}"
        server.outlet.unplug, server.outlet.plug = plug.unplug, plug.plug
        self._servers.append(server)

    def open(self, end: str, timeout: float) -> QKDDevice:
        return open_device(self._urls[end], timeout=timeout)

    def disturb(self, chance: Random) -> None:
        """Cut the line, cut the power, or take the link or the voice away for a while."""
        server = chance.choice(self._servers)
        (what,) = chance.choices(["power", "link", "line", "voice"], [4, 4, 4, 1])
        if what == "power":
            server.box.power_cycle()
        elif what == "voice":
            server.plan.begin("stall")
            server.outlet.pacer.later(_SILENCE, lambda: server.plan.begin(None))
        elif what == "link":
            server.box.set_link(up=False)
            server.outlet.pacer.later(_LINK_DOWN, lambda: server.box.set_link(up=True))
        else:
            server.outlet.unplug()
            server.outlet.plug()

    def calm(self) -> None:
        for server in self._servers:
            server.plan = FaultPlan()
            server.box.set_link(up=True)

    def holds(self, end: str, key_id: KeyId, below: int) -> bool:
        keys, raw = self.pair.boxes[end].keys, bytes(key_id)
        held = keys._own.get(raw) or keys._memory.find(raw)
        return held is not None and held.mark < below

    def faults(self) -> Sequence[str]:
        return [fault for plan in self._plans for fault in plan.log if fault != "-"]

    def close(self) -> None:
        for server in self._servers:
            server.outlet.close()
            server.outlet.unplug()
        self.pair.close()

    def _psk(self, name: str) -> Path:
        return self.directory / f"{name}.psk"


def serial_boxes(seed: int, directory: Path) -> BoxWorld:
    """Boxes on pseudo-terminals for an even *seed*, on TCP for an odd one."""
    world = BoxWorld(seed, directory, STREAM_CHUNK)
    for name, box in world.pair.boxes.items():
        line = BoxLine(box, world.plan(name, BOX_FAULTS))
        path = world.directory / name
        port = tcp_port(line, "127.0.0.1", 0) if seed % 2 else pty_port(line, path)
        world.put(name, port.url, line.server, port)
    return world


def usb_boxes(seed: int, directory: Path, bus: VirtualBus) -> BoxWorld:
    """Boxes in *bus*; the product ID is that of the world."""
    world = BoxWorld(seed, directory, USB_CHUNK)
    for name, box in world.pair.boxes.items():
        faults = BOX_FAULTS | USB_FAULTS
        function = BoxUsb(box, world.plan(name, faults), product=seed & 0xFFFF)
        url = f"usb://1209:{seed & 0xFFFF:04x}/{box.settings.serial}"
        world.put(name, url, function.server, UsbPlug(bus, function))
    return world


def _write_down(box: BoxFirmware, ledger: Ledger) -> None:
    """Have what the peer starts written into *ledger*, too: each key has to be stored there
    before its ID leaves the box that starts it."""
    store, extend = box.keys.store, box.keys.extend

    def store_and_learn(keys: Sequence[tuple[bytes, int, bytes]]) -> None:
        for key_id, _, material in keys:
            ledger.learn(KeyId.from_bytes(key_id), material)
        store(keys)

    def extend_and_learn(key_id: bytes, material: bytes) -> None:
        ledger.learn(KeyId.from_bytes(key_id), material)
        extend(key_id, material)

    box.keys.store = store_and_learn  # type: ignore[method-assign]
    box.keys.extend = extend_and_learn  # type: ignore[method-assign]
