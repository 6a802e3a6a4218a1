"""Lost bytes, lost seconds and jumping counters show against the host's clock."""

from __future__ import annotations

import numpy as np
import pytest

from qkd_hal.errors import ProtocolError
from qkd_hal_drivers.tdc1._time_base import TimeBase
from qkd_hal_drivers.tdc1._words import COUNTER_TICKS

SECOND = 500_000_000  # ticks
SLICE = 0.02


class Line:
    """Reads of one slice after the other, on a clock of its own."""

    def __init__(self) -> None:
        self.now = 100.0
        self.base = TimeBase(self.now, device="tdc1:///dev/x")

    def read(self, *ticks: float, seconds: float = SLICE, drained: bool = True) -> None:
        before, self.now = self.now, self.now + seconds
        self.base.check(np.array(ticks, np.int64), before, self.now, drained=drained)


def _steady(line: Line, start: int, seconds: float) -> int:
    tick = start
    for _ in range(round(seconds / SLICE)):
        line.read(tick, tick + int(SLICE * SECOND) - 1)
        tick += int(SLICE * SECOND)
    return tick


def test_a_steady_unit_passes_for_ever_also_one_with_a_slow_clock() -> None:
    line = Line()
    tick = 7
    for _ in range(20_000):
        line.read(tick)
        tick += int(SLICE * SECOND * (1 - 50e-6))


def test_dummies_alone_keep_the_time() -> None:
    line = Line()
    for turn in range(200):
        newest = int(line.now * SECOND) // (COUNTER_TICKS // 2) * (COUNTER_TICKS // 2)
        line.read(*([newest] if turn % 2 else []))


def test_a_roll_over_too_many_shows() -> None:
    line = Line()
    tick = _steady(line, 0, 1.0)
    with pytest.raises(ProtocolError, match=r"runs ahead.*tdc1:///dev/x.*anew"):
        line.read(tick + COUNTER_TICKS)


def test_a_roll_over_too_few_shows_at_the_next_word() -> None:
    line = Line()
    tick = _steady(line, 0, 1.0)
    line.read(drained=False, seconds=COUNTER_TICKS / SECOND)
    with pytest.raises(ProtocolError, match="too many words were lost"):
        line.read(tick)


def test_silence_ends_the_trust() -> None:
    line = Line()
    _steady(line, 0, 0.5)
    for _ in range(11):
        line.read()
    with pytest.raises(ProtocolError, match="stands still"):
        line.read()


def test_a_unit_that_never_begins_is_given_up() -> None:
    line = Line()
    for _ in range(51):
        line.read()
    with pytest.raises(ProtocolError, match="does not begin"):
        line.read()


def test_the_first_word_may_come_late() -> None:
    line = Line()
    for _ in range(40):
        line.read()
    _steady(line, 12345, 1.0)


def test_a_host_that_stalls_while_the_line_holds_all_words_is_no_fault() -> None:
    line = Line()
    tick = _steady(line, 0, 0.5)
    line.now += 3.0
    line.read(tick, tick + SECOND // 10, drained=False)
    line.read(tick + SECOND // 5, tick + 3 * SECOND)
    _steady(line, tick + int(3.02 * SECOND), 0.5)
