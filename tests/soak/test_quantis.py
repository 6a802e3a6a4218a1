"""The generator's driver under random reads and faults: no short read, no byte twice."""

from __future__ import annotations

import threading
import time
from random import Random
from typing import TYPE_CHECKING

import pytest

from qkd_hal import open_entropy_source
from qkd_hal.errors import QKDError
from qkd_hal_drivers import _usb
from qkd_hal_drivers.quantis import _board
from qkd_hal_drivers.quantis import generator as generator_module
from qkd_hal_firmware_mocks.quantis.firmware import Quantis
from qkd_hal_firmware_mocks.usb.virtual_bus import VirtualBus
from tests.soak.pulse import Pulse
from tests.soak.seed import replayable
from tests.soak.usb_plug import UsbPlug

if TYPE_CHECKING:
    from qkd_hal.instruments import EntropyInstrument

URL = "quantis://1209:0007"
QUIET = 0.02  # seconds that the driver waits for a byte, in this test
ALLOWANCE = 1.5  # seconds beyond
TELLING = 16  # bytes that come by chance nowhere else
SIZES = (1, 16, 64, 512, 513, 3000)
FAULTS = ("halt", "empty", "short", "silent", "broken", "stuck", "unplugged", "closed")


class Reader:
    """One generator, its plug, and all bytes that it made."""

    def __init__(self, seed: int, bus: VirtualBus) -> None:
        self.chance = Random(seed)
        self.made = bytearray()
        self.place = 0  # in `made`, behind what was given
        self.stuck = False
        self.firmware = Quantis(self._make)
        self.plug = UsbPlug(bus, self.firmware)
        self.source: EntropyInstrument | None = None
        self.good = 0
        self.told: set[str] = set()

    def step(self) -> None:
        """Read once, perhaps with a fault."""
        buffer = bytearray(b"\x55" * self.chance.choice(SIZES))
        try:
            if self.source is None:
                self.source = open_entropy_source(URL, timeout=1)
            self._read(self.source, buffer)
        except QKDError as error:
            self._judge_error(error)
            self._begin_anew()

    def _read(self, source: EntropyInstrument, buffer: bytearray) -> None:
        meanwhile = threading.Thread(target=self._strike, args=(source,))
        if self.chance.random() < 0.05:
            meanwhile.start()
        try:
            source.read_into(memoryview(buffer))
        except QKDError:
            assert not any(buffer), "bytes were left by a read that failed"
            raise
        finally:
            if meanwhile.ident is not None:
                meanwhile.join()
        self._judge(bytes(buffer))
        self.good += 1

    def _strike(self, source: EntropyInstrument) -> None:
        fault = self.chance.choice(FAULTS)
        if fault == "halt":
            self.firmware.stalls = self.chance.randint(1, 3)
        elif fault in ("empty", "short"):
            size = 0 if fault == "empty" else self.chance.randrange(1, 512)
            self.firmware.scripted.append(self._make(size))
        elif fault == "silent":
            self.firmware.silent = True
        elif fault == "broken":
            self.firmware.module_ok = False
        elif fault == "stuck":
            self.stuck = True
        elif fault == "unplugged":
            self.plug.unplug()
        else:
            source.close()

    def _judge_error(self, error: QKDError) -> None:
        assert error.device == URL, repr(error)
        self.told.add(type(error).__name__)

    def _begin_anew(self) -> None:
        if self.source is not None:
            self.source.close()
        self.source, self.stuck = None, False
        self.firmware.silent, self.firmware.module_ok = False, True
        self.plug.plug()

    def _make(self, size: int) -> bytes:
        fresh = bytes(size) if self.stuck else self.chance.randbytes(size)
        self.made += fresh
        return fresh

    def _judge(self, given: bytes) -> None:
        """Find what was given among what was made, in order, whatever was thrown away."""
        at = 0
        while at < len(given):
            telling = given[at : at + TELLING]
            found = self.made.find(telling, self.place)
            assert found >= 0, f"{len(given)} bytes: those from {at} on are not from here, or again"
            same = _common(given[at:], self.made[found : found + len(given) - at])
            at, self.place = at + same, found + same


def _common(first: bytes, second: bytearray) -> int:
    """Count the bytes at the beginning that are the same."""
    if first == second:
        return len(first)
    pairs = zip(first, second, strict=False)
    return next((n for n, (one, other) in enumerate(pairs) if one != other), len(second))


@pytest.mark.parametrize(
    "operations",
    [10_000, pytest.param(100_000, marks=[pytest.mark.slow, pytest.mark.timeout(900)])],
)
def test_the_generator_keeps_its_promises(operations: int, monkeypatch: pytest.MonkeyPatch) -> None:
    bus = VirtualBus()
    monkeypatch.setattr(_usb, "provide_backend", lambda: bus.backend)
    monkeypatch.setattr(generator_module, "_QUIET_SECONDS", QUIET)
    monkeypatch.setattr(_board, "_SLICE_MS", 10)
    with replayable() as seed, Pulse() as pulse:
        reader = Reader(seed, bus)
        for _ in range(operations):
            begin = time.monotonic()
            reader.step()
            assert time.monotonic() - begin < QUIET + ALLOWANCE + pulse.lateness()
    assert reader.good > operations / 2
    assert {"DeviceLostError", "DeviceClosedError", "DeadlineError", "DeviceError"} <= reader.told
    reader._begin_anew()
