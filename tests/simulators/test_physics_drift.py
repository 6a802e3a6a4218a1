"""Wandering polarisation, the controller that follows it, and counts without clicks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from qkd_hal_simulators.physics.clicks import Clicks
from qkd_hal_simulators.physics.counts import (
    SiftedCounts,
    count_block,
    sifted_chances,
    span_of_clicks,
)
from qkd_hal_simulators.physics.detector import Detector
from qkd_hal_simulators.physics.drift import Aligner, Drift, turned
from qkd_hal_simulators.physics.fibre import Fibre
from qkd_hal_simulators.physics.memory import Memory
from qkd_hal_simulators.physics.random import physical_generator
from qkd_hal_simulators.physics.sampler import (
    BASIS_SHIFT,
    EMITTED_SHIFT,
    ClickSampler,
    click_probability,
    click_table,
)
from qkd_hal_simulators.physics.source import WeakCoherentPulses

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Fits = Callable[[NDArray[np.int64], NDArray[np.float64]], bool]

LIGHT = WeakCoherentPulses((0.5, 0.1, 1e-3), (0.6, 0.3, 0.1))
MEMORY = Memory(3, 0.3, 4.0)
RECEIVER = Detector(0.6, 1e-3, 0.05, 0.6, efficiency_mismatch=0.3, memory=MEMORY)
TABLE = click_table(LIGHT, Fibre(10.0), RECEIVER)


def test_turned_polarisation_errs_by_the_square_of_the_sine() -> None:
    assert turned(0.0, 0.1) == pytest.approx(math.sin(0.1) ** 2)
    assert turned(0.01, 0.0) == 0.01
    assert turned(0.01, math.pi / 2) == pytest.approx(0.99)
    assert turned(0.5, 1.0) == pytest.approx(0.5)


def test_a_drift_is_a_random_walk_whatever_its_steps() -> None:
    rng = physical_generator(1)
    ends = []
    for steps in (1, 4, 36):
        walks = [Drift(100.0, rng) for _ in range(3000)]
        for walk in walks:
            for _ in range(steps):
                walk.advance(4 * 3600 / steps)
        ends.append(np.std([walk.angle for walk in walks]))
    assert ends == pytest.approx([0.2] * 3, rel=6 / math.sqrt(2 * 3000))


@pytest.mark.parametrize("start", [-0.7, -0.2, 0.0, 0.2, 0.7])
def test_the_aligner_finds_the_polarisation_from_either_side(start: float) -> None:
    aligner, rng = Aligner(), physical_generator(1)
    for _ in range(60):
        aligner.update(rng.binomial(40_000, turned(0.01, start - aligner.setting)) / 40_000)
    assert aligner.setting == pytest.approx(start, abs=0.03 + 6 * 0.01)
    aligner.update(0.01)  # the other side of the middle
    assert abs(aligner.setting - start) > 0.0


def test_the_aligner_stays_where_both_sides_err_alike() -> None:
    aligner = Aligner()
    sides = [aligner.setting]
    for _ in range(5):
        aligner.update(0.02)
        sides.append(aligner.setting)
    assert sides == [0.03, -0.03] * 3


@pytest.mark.parametrize(
    "table", [TABLE, click_table(LIGHT, Fibre(10.0), Detector(0.3, 0.0, 0.02, 0.7))]
)
def test_chances_of_counts_are_those_of_the_sampler(
    table: NDArray[np.float64], chi_square_fits: Fits
) -> None:
    memory = MEMORY if table is TABLE else Memory()
    rng, count = physical_generator(3), 1 << 20
    _, cells = ClickSampler(table, memory, rng).draw(count)
    state, bases = cells >> EMITTED_SHIFT, cells >> np.uint8(BASIS_SHIFT) & np.uint8(1)
    clicks = Clicks(np.arange(count), bases, cells & np.uint8(3))
    wrong = clicks.detections((0, count), rng).bits != (state & 1)
    same = (state >> 1 & 1) == bases
    kinds = (state >> 2).astype(np.int64) << 2 | bases << 1 | wrong
    chances = sifted_chances(table, memory)
    counted = np.append(np.bincount(kinds[same], minlength=12), count - int(same.sum()))
    assert chi_square_fits(counted, count * np.append(chances.ravel(), 1 - chances.sum()))


def test_a_block_of_counts_has_its_chances(chi_square_fits: Fits) -> None:
    chances = sifted_chances(TABLE, MEMORY)
    counts = count_block(chances, 1 << 20, physical_generator(1))
    drawn = np.array([counts.key, counts.key_errors, counts.test, counts.test_errors])
    key, key_wrong, test, test_wrong = (1 << 20) * np.array(
        [chances[:, 0].sum(1), chances[:, 0, 1], chances[:, 1].sum(1), chances[:, 1, 1]]
    )
    right = np.concatenate((key - key_wrong, test - test_wrong))
    assert chi_square_fits(np.concatenate((drawn[0] - drawn[1], drawn[2] - drawn[3])), right)
    assert chi_square_fits(np.concatenate((drawn[1], drawn[3])), np.append(key_wrong, test_wrong))


def test_error_rates_of_counts() -> None:
    counts = SiftedCounts((60, 40), (10, 10), (3, 2), (1, 0))
    assert (counts.qber, counts.key_qber) == (0.05, 0.05)
    nothing = SiftedCounts((0,), (0,), (0,), (0,))
    assert (nothing.qber, nothing.key_qber) == (0.5, 0.5)


@pytest.mark.parametrize("memory", [Memory(), Memory(20), MEMORY])
def test_a_span_of_clicks_is_as_long_as_its_gaps(memory: Memory) -> None:
    rng, clicks = physical_generator(2), click_probability(TABLE)
    drawn = [span_of_clicks(clicks, memory, 100, rng) for _ in range(4000)]
    gaps, _ = ClickSampler(TABLE, memory, rng).draw(400_000)
    summed = gaps.reshape(-1, 100).sum(axis=1)
    assert np.mean(drawn) == pytest.approx(100 * memory.mean_gap(clicks), rel=0.01)
    assert np.mean(drawn) == pytest.approx(float(summed.mean()), rel=0.01)
    assert np.std(drawn) == pytest.approx(float(summed.std()), rel=0.1)


def test_where_every_pulse_clicks_a_span_has_no_waits() -> None:
    assert span_of_clicks(1.0, Memory(2), 10, physical_generator(1)) == 30


@pytest.mark.parametrize("memory", [Memory(), Memory(3, 0.4, 5.0), Memory(0, 1.0, 1.0)])
def test_kinds_of_clicks_are_all(memory: Memory) -> None:
    assert sum(memory.kinds(0.1)) == pytest.approx(1.0)
    assert min(memory.kinds(0.1)) >= 0.0
