"""Clicks fall into the right pulses; each pulse is told once, in rising order."""

from __future__ import annotations

from fractions import Fraction
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkd_hal_drivers.tdc1 import Tdc1Settings
from qkd_hal_drivers.tdc1._slots import PulseSlots

if TYPE_CHECKING:
    from qkd_hal.sources import DetectionBatch

Click = tuple[int, int, int]  # pulse, basis, bit
PERIOD = 500  # ticks of 2 ns at 1 MHz


class Ones:
    """Entropy whose every bit is one."""

    def read_into(self, view: memoryview) -> None:
        view[:] = b"\xff" * len(view)


class Zeros(Ones):
    """Entropy whose every bit is zero."""

    def read_into(self, view: memoryview) -> None:
        view[:] = bytes(len(view))


def _settings(rate_hz: int = 1_000_000, **changes: object) -> Tdc1Settings:
    return Tdc1Settings("/dev/null", rate_hz, **changes)  # type: ignore[arg-type]


def _add(slots: PulseSlots, *words: tuple[int, int]) -> DetectionBatch | None:
    ticks, inputs = zip(*words, strict=True) if words else ((), ())
    return slots.add(np.array(ticks, np.int64), np.array(inputs, np.uint8))


def _clicks(batch: DetectionBatch | None) -> list[Click]:
    assert batch is not None
    columns = (batch.pulses, batch.bases, batch.bits)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def _detections(words: list[tuple[int, int]], settings: Tdc1Settings) -> list[Click]:
    slots = PulseSlots(settings, Ones(), 0)
    batch = _add(slots, *words)
    return [] if batch is None else _clicks(batch)


def test_each_input_is_a_basis_and_a_bit() -> None:
    words = [(n * PERIOD, 1 << n) for n in range(4)] + [(9 * PERIOD, 0)]
    assert _detections(words, _settings()) == [(0, 0, 0), (1, 0, 1), (2, 1, 0), (3, 1, 1)]
    swapped = _settings(inputs=("Z1", None, "X0", "X0"))
    assert _detections(words, swapped) == [(0, 1, 1), (2, 0, 0), (3, 0, 0)]


@given(
    st.integers(1, 250_000_000),
    st.integers(0, 1 << 61),
    st.lists(st.integers(0, 1 << 40), min_size=1, max_size=20),
    st.decimals(-1000, 1000, places=3),
)
def test_slots_are_exact_at_any_rate_and_time(
    rate_hz: int, start: int, steps: list[int], offset_ns: object
) -> None:
    """Against rational arithmetic: no rounding adds up, also after years."""
    offset = Fraction(str(offset_ns))
    ticks = list(accumulate([start, *steps]))
    slots = PulseSlots(_settings(rate_hz, offset_ns=float(offset)), Ones(), 0)
    got, _ = slots._slot(np.array(ticks, np.int64))
    phase = Fraction(round(float(offset) * rate_hz), 10**9)
    true = [(Fraction(2 * tick * rate_hz, 10**9) - phase + Fraction(1, 2)) // 1 for tick in ticks]
    assert got.tolist() == true


@given(
    st.lists(st.tuples(st.integers(0, 3 * PERIOD), st.integers(0, 15)), max_size=60),
    st.lists(st.integers(0, 5), min_size=1),
)
def test_any_cut_gives_the_same_detections(steps: list[tuple[int, int]], sizes: list[int]) -> None:
    ticks = np.cumsum([step for step, _ in steps], dtype=np.int64)
    inputs = np.array([pattern for _, pattern in steps], np.uint8)
    whole = PulseSlots(_settings(), Ones(), 0).add(ticks, inputs)
    slots, place, parts = PulseSlots(_settings(), Ones(), 0), 0, []
    for turn in range(len(steps) * len(sizes)):
        size = sizes[turn % len(sizes)]
        batch = slots.add(ticks[place : place + size], inputs[place : place + size])
        parts += [batch] if batch else []
        place += size
    ends = [(part.first_pulse, part.end_pulse) for part in parts]
    assert all(before[1] == after[0] for before, after in pairwise(ends))
    got = [click for part in parts for click in _clicks(part)]
    pulses = [click[0] for click in got]
    assert pulses == sorted(set(pulses))
    if place >= len(steps):
        assert got == (_clicks(whole) if whole else [])


def test_a_pulse_is_held_back_until_no_more_of_it_can_come() -> None:
    slots = PulseSlots(_settings(), Zeros(), 0)
    assert _add(slots, (0, 2), (3, 0)) is None
    assert _add(slots) is None
    batch = _add(slots, (5, 1), (PERIOD, 0))
    assert _clicks(batch) == [(0, 0, 0)]  # both clicks: the bit is drawn
    assert batch is not None
    assert (batch.first_pulse, batch.end_pulse) == (0, 1)


@pytest.mark.parametrize(
    ("pattern", "zeros", "ones"),
    [
        (0b0011, (0, 0), (0, 1)),  # both detectors of X: the bit is drawn, the basis stands
        (0b1100, (1, 0), (1, 1)),
        (0b0101, (0, 0), (1, 1)),  # one of each basis: both are drawn
        (0b1010, (0, 0), (1, 1)),
        (0b1111, (0, 0), (1, 1)),
        (0b0111, (0, 0), (1, 1)),
        (0b0001, (0, 0), (0, 0)),
        (0b1000, (1, 1), (1, 1)),
    ],
)
def test_a_double_click_is_a_draw(
    pattern: int, zeros: tuple[int, int], ones: tuple[int, int]
) -> None:
    for entropy, outcome in ((Zeros(), zeros), (Ones(), ones)):
        batch = _add(PulseSlots(_settings(), entropy, 0), (0, pattern), (PERIOD, 0))
        assert _clicks(batch) == [(0, *outcome)]


def test_clicks_outside_the_gate_do_not_count() -> None:
    settings = _settings(offset_ns=100, gate_ns=40)  # 100 ns ± 20 ns is tick 50 ± 10
    words = [(39, 1), (40, 1), (60 + PERIOD, 2), (61 + 2 * PERIOD, 2), (5 * PERIOD, 0)]
    assert _detections(words, settings) == [(0, 0, 0), (1, 0, 1)]


def test_numbers_go_on_where_the_last_acquisition_ended() -> None:
    slots = PulseSlots(_settings(), Ones(), 1000)
    batch = _add(slots, (70 * PERIOD, 1), (72 * PERIOD, 0))
    assert batch is not None
    assert (batch.pulses.tolist(), batch.first_pulse, batch.end_pulse) == ([1000], 1000, 1002)
