"""The time tagger's driver under reads cut anywhere and lost bytes, on a clock of its own.

A batch comes up to fifty times a second; to see ten thousand, port and clock are the test's.
"""

from __future__ import annotations

import math
from collections import deque
from random import Random
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from qkd_hal.errors import DeviceLostError, ProtocolError, QKDError
from qkd_hal.sources import Deadline
from qkd_hal_drivers.tdc1 import Tdc1Settings, Tdc1Source, tagger
from qkd_hal_firmware_mocks.tdc1.clicks import TICKS_PER_SECOND, steady_clicks
from qkd_hal_firmware_mocks.tdc1.firmware import COUNTER_TICKS, DUMMY, word
from tests.soak.seed import replayable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qkd_hal.sources import DetectionBatch

PORT = "/dev/ttySOAK"
GRID_HZ = 100_000
PER_PULSE = TICKS_PER_SECOND // GRID_HZ
RATES = (900.0, 700.0, 500.0, 300.0)
LOSSES = ("bytes", "jump", "stop", "unplug")
NOTICED = 1.0  # seconds after a loss, within which the driver gives up
SINGLE = {1: (0, 0), 2: (0, 1), 4: (1, 0), 8: (1, 1)}  # pattern → basis and bit


class Unit:
    """The port as the driver sees it, and the clock: a read lets time go on."""

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)
        self.now = 100.0
        self.loss = ""
        self._waiting = bytearray()

    def monotonic(self) -> float:
        """The host's clock."""
        return self.now

    def begin(self) -> None:
        """Start an acquisition."""
        self.loss, self._until = "", math.inf
        self._waiting.clear()
        self._began = self.now
        self.patterns: dict[int, int] = {}
        self._first: int | None = None
        # A counter on the grid of the pulses: the phase of the light is not what is tried here.
        counter = PER_PULSE * self.chance.randrange(COUNTER_TICKS // PER_PULSE)
        self._events = self._stamps(counter)
        self._next = next(self._events)

    def quieten(self, _: Deadline) -> None:
        """Nothing runs."""

    def tell(self, command: str) -> None:
        """Take a command."""
        if "counts?" in command:
            self.begin()

    def ask(self, query: str, _: Deadline) -> str:
        """Answer."""
        return "TDC1 simulated" if query == "*idn?" else "3"

    def close(self) -> None:
        """Nothing is open."""

    def read(self) -> bytes:
        """Give what has come in meanwhile, cut anywhere."""
        self.now += self.chance.choice([0.001, 0.005, 0.02, 0.02])
        assert self.now < self._until, f"the driver goes on after: {self.loss}"
        if self.loss == "unplug":
            raise DeviceLostError("the unit went away", device=f"tdc1://{PORT}")
        if self.loss != "stop":
            self._produce()
        kept = self.chance.choice([0, 0, 0, 1, 2, 3])
        cut = max(0, len(self._waiting) - kept)
        data = bytes(self._waiting[:cut])
        del self._waiting[:cut]
        return data

    def lose(self) -> None:
        """Let something go wrong that the driver has to notice."""
        self.loss = self.chance.choice(LOSSES)
        self._until = self.now + NOTICED
        if self.loss == "bytes":
            self.now += 0.02
            self._produce()
            del self._waiting[: self.chance.randint(1, 3)]
        elif self.loss == "jump":
            self._began -= 1.0

    def _produce(self) -> None:
        while self._next[0] < (self.now - self._began) * TICKS_PER_SECOND:
            self._waiting += self._next[1]
            self._next = next(self._events)

    def _stamps(self, counter: int) -> Iterator[tuple[int, bytes]]:
        due = COUNTER_TICKS // 2
        seed = self.chance.getrandbits(32)
        for tick, pattern in steady_clicks(RATES, seed=seed, grid_hz=GRID_HZ):
            while tick >= due:
                yield due, word(counter + due, DUMMY)
                due += COUNTER_TICKS // 2
            pulse = tick // PER_PULSE
            self._first = pulse if self._first is None else self._first
            self.patterns[pulse - self._first] = pattern
            yield tick, word(counter + tick, pattern)


def judge(batch: DetectionBatch, unit: Unit, begin: int) -> None:
    """Compare a batch with the light that fell; *begin* is the number of the first pulse."""
    span = range(batch.first_pulse - begin, batch.end_pulse - begin)
    truth = [(pulse, unit.patterns[pulse]) for pulse in span if pulse in unit.patterns]
    given = (batch.pulses - begin).tolist()
    assert given == [pulse for pulse, _ in truth], "time stamps are wrong, missing or come twice"
    for (_, pattern), basis, bit in zip(truth, batch.bases, batch.bits, strict=True):
        assert SINGLE.get(pattern, (basis, bit)) == (basis, bit), "a click in another detector"


def acquire(source: Tdc1Source, unit: Unit, count: int) -> None:
    """Judge *count* batches, then lose something; the driver has to say so soon."""
    batches = source.batches(Deadline(None))
    begin = end = None
    for _ in range(count):
        batch = next(batches)
        begin = batch.first_pulse if begin is None else begin
        assert end in (None, batch.first_pulse), "pulses are skipped or come twice"
        end = batch.end_pulse
        judge(batch, unit, begin)
    unit.lose()
    with pytest.raises(QKDError) as caught:
        deque(batches, maxlen=0)
    expected = DeviceLostError if unit.loss == "unplug" else ProtocolError
    assert type(caught.value) is expected, unit.loss
    assert caught.value.device == f"tdc1://{PORT}"


@pytest.mark.parametrize(
    "operations",
    [10_000, pytest.param(100_000, marks=[pytest.mark.slow, pytest.mark.timeout(900)])],
)
def test_the_time_tagger_keeps_its_promises(
    operations: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with replayable() as seed:
        unit = Unit(seed)
        monkeypatch.setattr(tagger, "Tdc1Port", lambda *_, **__: unit)
        monkeypatch.setattr(tagger, "time", SimpleNamespace(monotonic=unit.monotonic))
        with Tdc1Source(Tdc1Settings(PORT, GRID_HZ), Deadline(None)) as source:
            while operations > 0:
                count = unit.chance.randint(1, 300)
                acquire(source, unit, count)
                operations -= count
