"""The two samplers show the same statistics: per pulse, and per detection.

Every comparison is a chi-square test at p = 1e-4, seeded.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pytest

from qkd_hal.errors import ConfigurationError
from qkd_hal_simulators.physics.clicks import Clicks
from qkd_hal_simulators.physics.detector import Detector
from qkd_hal_simulators.physics.fibre import Fibre
from qkd_hal_simulators.physics.memory import Memory, Recovery
from qkd_hal_simulators.physics.random import physical_generator
from qkd_hal_simulators.physics.sampler import BASIS_SHIFT, EMITTED_SHIFT, ClickSampler, click_table
from qkd_hal_simulators.physics.source import LightSource, SinglePhotons, WeakCoherentPulses

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

TWO_DECOYS = WeakCoherentPulses((0.5, 0.2, 1e-3), (0.6, 0.3, 0.1))
ONE_DECOY = WeakCoherentPulses((0.6, 0.2), (0.7, 0.3), noise=0.2)
FRAME = 1 << 18
OUTCOMES = 4 * 4 * 2 * 2  # intensity, state, measured basis, bit


@dataclass(frozen=True)
class Link:
    light: WeakCoherentPulses | SinglePhotons
    fibre: Fibre
    detector: Detector


PLAIN = Link(TWO_DECOYS, Fibre(10.0), Detector(0.5, 1e-4, 0.02, 0.7))
EVERYTHING = Link(
    ONE_DECOY,
    Fibre(5.0, 0.25, 1.0),
    Detector(
        0.6,
        1e-3,
        0.05,
        0.6,
        efficiency_mismatch=0.3,
        background_photons=0.01,
        memory=Memory(4, 0.2, 3.0),
    ),
)
BRIGHT = Link(
    WeakCoherentPulses((3.0, 1.0, 0.0), (0.5, 0.4, 0.1)),
    Fibre(0.0),
    Detector(0.8, 0.01, 0.1, 0.5, memory=Memory(2)),
)
PHOTONS = Link(SinglePhotons(), Fibre(20.0), Detector(0.3, 1e-3, 0.01, 0.5))


def by_pulse(link: Link, frames: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return pulses, and outcomes as numbers below ``OUTCOMES``."""
    rng = physical_generator(seed)
    key = link.detector.key_basis_probability
    source = LightSource(link.light, key_basis_probability=key, rng=rng)
    recovery = Recovery(link.detector.memory)
    pulses, outcomes = [], []
    for first in range(0, frames * FRAME, FRAME):
        cells, frame = source.emit(first, FRAME)
        batch = link.detector.detect(link.fibre.transmit(frame, rng), rng, recovery)
        sent = cells[batch.pulses - first]
        emitted = (sent >> 2) % source.intensities << 2 | sent & 3
        pulses.append(batch.pulses)
        outcomes.append(emitted.astype(np.int64) << 2 | batch.bases << 1 | batch.bits)
    return np.concatenate(pulses), np.concatenate(outcomes)


def by_click(link: Link, count: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    rng = physical_generator(seed)
    table = click_table(link.light, link.fibre, link.detector)
    gaps, cells = ClickSampler(table, link.detector.memory, rng).draw(count)
    bases = cells >> np.uint8(BASIS_SHIFT) & np.uint8(1)
    clicks = Clicks(np.cumsum(gaps), bases, cells & np.uint8(3))
    bits = clicks.detections((0, 1 << 62), rng).bits
    emitted = cells.astype(np.int64) >> EMITTED_SHIFT
    return clicks.pulses, emitted << 2 | bases << 1 | bits


@cache
def both(
    link: Link, frames: int = 16
) -> tuple[
    tuple[NDArray[np.int64], NDArray[np.int64]], tuple[NDArray[np.int64], NDArray[np.int64]]
]:
    pulses = by_pulse(link, frames, seed=11)
    return pulses, by_click(link, pulses[0].size, seed=12)


@pytest.mark.parametrize("link", [PLAIN, EVERYTHING, BRIGHT, PHOTONS])
def test_both_samplers_see_the_same(
    link: Link, chi_square_agrees: Callable[[NDArray[np.int64], NDArray[np.int64]], bool]
) -> None:
    (_, one), (_, other) = both(link)
    assert one.size > 50_000
    counts = (np.bincount(outcomes, minlength=OUTCOMES) for outcomes in (one, other))
    assert chi_square_agrees(*counts)


@pytest.mark.parametrize("link", [PLAIN, EVERYTHING, BRIGHT, PHOTONS])
def test_both_samplers_see_it_as_often(
    link: Link, chi_square_agrees: Callable[[NDArray[np.int64], NDArray[np.int64]], bool]
) -> None:
    (one, _), (other, _) = both(link)
    edges = np.append(np.arange(100) + 0.5, np.inf)
    counts = (np.histogram(np.diff(pulses), edges)[0] for pulses in (one, other))
    assert chi_square_agrees(*counts)


@pytest.mark.parametrize("link", [EVERYTHING, BRIGHT])
def test_both_samplers_see_the_same_after_the_same(
    link: Link, chi_square_agrees: Callable[[NDArray[np.int64], NDArray[np.int64]], bool]
) -> None:
    """Pairs of clicks in a row: which detector, and whether soon, as dead time lets them."""
    counts = []
    for pulses, outcomes in both(link):
        soon = np.searchsorted([4, 6, 8, 12, 20], np.diff(pulses))
        bits = outcomes & 1
        counts.append(np.bincount(soon << 2 | bits[:-1] << 1 | bits[1:], minlength=24))
    assert chi_square_agrees(*counts)


def test_the_comparison_would_notice_a_percent_of_misalignment(
    chi_square_agrees: Callable[[NDArray[np.int64], NDArray[np.int64]], bool],
) -> None:
    worse = Link(PLAIN.light, PLAIN.fibre, Detector(0.5, 1e-4, 0.03, 0.7))
    _, one = by_pulse(PLAIN, 16, seed=11)
    _, other = by_click(worse, one.size, seed=12)
    counts = (np.bincount(outcomes, minlength=OUTCOMES) for outcomes in (one, other))
    assert not chi_square_agrees(*counts)


def test_a_seed_repeats_the_clicks() -> None:
    draws = [by_click(EVERYTHING, 10_000, seed) for seed in (1, 1, 2)]
    for ours, same, other in zip(*draws, strict=True):
        assert np.array_equal(ours, same)
        assert not np.array_equal(ours, other)


def test_pieces_of_a_stream_join_as_one() -> None:
    """A draw may end anywhere: the glow of its last click goes on in the next."""
    table = click_table(EVERYTHING.light, EVERYTHING.fibre, EVERYTHING.detector)
    memory = Memory(0, 1.0, 1.0)
    sampler = ClickSampler(table, memory, physical_generator(1))
    patterns = np.concatenate([sampler.draw(1)[1] & 3 for _ in range(200)])
    single = patterns < 3  # a click of one detector glows in it, and the next click holds it
    kept = patterns[1:] & patterns[:-1]
    assert kept[single[:-1]].all()


def test_where_every_pulse_clicks_none_is_skipped() -> None:
    table = click_table(SinglePhotons(), Fibre(0.0), Detector(1.0, 0.0, 0.0, 0.5))
    gaps, cells = ClickSampler(table, Memory(), physical_generator(1)).draw(1000)
    assert (gaps == 1).all()
    assert (cells & 3).all()


def test_a_dark_channel_is_refused() -> None:
    table = click_table(SinglePhotons(), Fibre(1000.0), Detector(0.5, 0.0, 0.0, 0.5))
    with pytest.raises(ConfigurationError, match="no pulse would ever click"):
        ClickSampler(table, Memory(), physical_generator(1))


def test_another_channel_takes_over() -> None:
    tables = [
        click_table(SinglePhotons(), Fibre(0.0), Detector(0.5, 0.0, wrong, 1.0))
        for wrong in (0.0, 1.0)
    ]
    sampler = ClickSampler(tables[0], Memory(), physical_generator(1))
    for table, wrong in zip(tables, (False, True), strict=True):
        sampler.retune(table)
        _, cells = sampler.draw(1000)
        sent, fired = cells >> EMITTED_SHIFT & 1, (cells & 3) - 1
        assert ((sent != fired) == wrong).all()
