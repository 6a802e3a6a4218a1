"""The emitter's memory of clicks, and what it tells of pulses that did not click."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from qkd_hal.errors import ProtocolError
from qkd_hal_simulators.physics.click_log import ClickLog
from qkd_hal_simulators.physics.random import physical_generator

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from qkd_hal.distillation.sifting import Emitted

SILENT = np.array([0.3, 0.3, 0.05, 0.05, 0.1, 0.1, 0.05, 0.05])  # two intensities


def a_log(seed: int = 1, first_pulse: int = 0) -> ClickLog:
    return ClickLog(SILENT, first_pulse=first_pulse, rng=physical_generator(seed))


def numbers(emitted: Emitted) -> NDArray[np.int64]:
    return emitted.intensities.astype(np.int64) << 2 | emitted.bases << 1 | emitted.bits


def filled() -> tuple[ClickLog, list[NDArray[np.uint8]]]:
    log = a_log()
    states = [np.array(row, np.uint8) for row in ([7, 0, 3], [], [5])]
    for pulses, row, end in zip(([2, 5, 9], [], [3000]), states, (10, 2000, 4000), strict=True):
        log.add(np.array(pulses, np.int64), row, end)
    return log, states


def test_clicks_are_remembered_until_they_are_discarded() -> None:
    log, _ = filled()
    assert numbers(log.states(np.array([2, 5, 9, 3000]))).tolist() == [7, 0, 3, 5]
    assert (log.held, log.end) == (4, 4000)
    log.discard(10)
    assert (log.held, log.end) == (1, 4000)
    assert numbers(log.states(np.array([10, 3000])))[1] == 5
    with pytest.raises(ProtocolError, match="no longer remembered"):
        log.states(np.array([9, 3000]))


@pytest.mark.parametrize("pulse", [999, 3000])
def test_the_log_refuses_pulses_that_it_does_not_hold(pulse: int) -> None:
    log = a_log(first_pulse=1000)
    log.add(np.zeros(0, np.int64), np.zeros(0, np.uint8), 3000)
    with pytest.raises(ProtocolError, match="no longer remembered"):
        log.states(np.array([pulse]))


def test_discarding_overwrites_the_states() -> None:
    log, states = filled()
    log.discard(4000)
    assert not any(row.any() for row in states)
    assert log.held == 0


def test_silent_pulses_get_the_states_of_silent_pulses(
    chi_square_fits: Callable[[NDArray[np.int64], NDArray[np.float64]], bool],
) -> None:
    log, count = a_log(), 1 << 18
    log.add(np.zeros(0, np.int64), np.zeros(0, np.uint8), count)
    told = numbers(log.states(np.arange(count)))
    assert chi_square_fits(np.bincount(told, minlength=8), count * SILENT)
    pairs = np.bincount(told[:-1] << 3 | told[1:], minlength=64)
    assert chi_square_fits(pairs, (count - 1) * np.outer(SILENT, SILENT).ravel())


def test_silent_pulses_have_one_state_whoever_asks_when_with_which() -> None:
    log, _ = filled()
    once = numbers(log.states(np.arange(4000)))
    assert np.array_equal(numbers(log.states(np.arange(0, 4000, 7))), once[::7])
    assert once[[2, 5, 9, 3000]].tolist() == [7, 0, 3, 5]


def test_silent_states_cannot_be_told_without_the_logs_secret() -> None:
    told = []
    for seed in (1, 2):
        log = a_log(seed)
        log.add(np.zeros(0, np.int64), np.zeros(0, np.uint8), 10_000)
        told.append(log.states(np.arange(10_000)).bits)
    same = int((told[0] == told[1]).sum())
    assert abs(same - 5000) < 6 * math.sqrt(2500)
