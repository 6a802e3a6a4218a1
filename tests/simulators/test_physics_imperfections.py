"""Each imperfection against its closed form. Seeded; tolerances are six standard deviations.

Where a whole distribution is compared, it is by chi-square at p = 1e-4.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkd_hal_simulators.physics.clicks import BOTH, ONE, ZERO, Clicks
from qkd_hal_simulators.physics.detector import Detector
from qkd_hal_simulators.physics.fibre import Fibre
from qkd_hal_simulators.physics.frame import PhotonFrame
from qkd_hal_simulators.physics.memory import Memory, Recovery
from qkd_hal_simulators.physics.random import geometric, physical_generator
from qkd_hal_simulators.physics.sampler import ClickSampler, click_table, silent_states
from qkd_hal_simulators.physics.source import LightSource, SinglePhotons, WeakCoherentPulses

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from qkd_hal.sources import DetectionBatch

    ChiSquare = Callable[[NDArray[np.int64], NDArray[np.float64]], bool]

PULSES = 1 << 20
FRAME = 1 << 16
LIM = WeakCoherentPulses((0.5, 0.1, 2e-4), (0.6, 0.3, 0.1))


def within_six_sigmas(hits: int, trials: int, probability: float) -> bool:
    deviation = math.sqrt(trials * probability * (1 - probability))
    return abs(hits - trials * probability) <= 6 * deviation + 1e-9


def frame_of(state: int, first: int = 0, count: int = FRAME) -> PhotonFrame:
    """One photon in every pulse."""
    return PhotonFrame(first, count, np.arange(count), np.full(count, 1 << 2 | state, np.uint8))


def frames(
    detector: Detector, *, pulses: int = PULSES, light: WeakCoherentPulses | None = None
) -> list[DetectionBatch]:
    """Detect frame by frame, with one receiver's memory; in the dark, or *light* at once."""
    rng, recovery = physical_generator(5), Recovery(detector.memory)
    source = LightSource(light, key_basis_probability=0.5, rng=rng) if light else None
    batches = []
    for first in range(0, pulses, FRAME):
        frame = PhotonFrame(first, FRAME, np.zeros(0, np.int64), np.zeros(0, np.uint8))
        if source:
            _, frame = source.emit(first, FRAME)
        batches.append(detector.detect(frame, rng, recovery))
    return batches


def pulses_of(batches: list[DetectionBatch]) -> NDArray[np.int64]:
    return np.concatenate([batch.pulses for batch in batches])


def survival(memory: Memory, click_probability: float, waits: NDArray[np.int64]) -> list[float]:
    """P(the next click is more than so many pulses after the dead time's end)."""
    echo, trapped = 1 / memory.afterpulse_pulses, memory.afterpulse_probability
    early = (1 - trapped) + trapped * (1 - echo) ** waits
    chances: list[float] = ((1 - click_probability) ** waits * early).tolist()
    return chances


# --- source ---------------------------------------------------------------------------------


def test_intensity_noise_is_a_gamma_distributed_mean(chi_square_fits: ChiSquare) -> None:
    mean, noise, rng = 0.5, 0.3, physical_generator(1)
    table = WeakCoherentPulses((mean,), (1.0,), noise).photon_numbers()[:, 0]
    true = rng.gamma(1 / noise**2, mean * noise**2, PULSES)
    drawn = np.bincount(np.minimum(rng.poisson(true), 15), minlength=16)
    assert chi_square_fits(drawn, PULSES * table)
    assert table[0] == pytest.approx((1 + mean * noise**2) ** (-1 / noise**2))


def test_intensity_noise_keeps_the_mean_and_vanishes_smoothly() -> None:
    numbers = np.arange(16)
    noisy = WeakCoherentPulses((0.5, 0.1), (0.7, 0.3), 0.05).photon_numbers()
    assert numbers @ noisy == pytest.approx([0.35, 0.03], rel=1e-6)
    almost = WeakCoherentPulses((0.5, 0.1), (0.7, 0.3), 1e-7).photon_numbers()
    exact = WeakCoherentPulses((0.5, 0.1), (0.7, 0.3)).photon_numbers()
    assert almost == pytest.approx(exact, rel=1e-6)


def test_one_decoy_has_two_intensities() -> None:
    light = WeakCoherentPulses((0.5, 0.15), (0.7, 0.3))
    source = LightSource(light, key_basis_probability=0.5, rng=physical_generator(1))
    cells, _ = source.emit(0, PULSES)
    assert source.intensities == 2
    assert within_six_sigmas(int((cells >> 2 & 1).sum()), PULSES, 0.3)


# --- receiver -------------------------------------------------------------------------------


def test_background_light_clicks_in_either_detector_by_its_efficiency() -> None:
    detector = Detector(0.4, 0.0, 0.0, 0.5, background_photons=0.1, efficiency_mismatch=0.5)
    batches = frames(detector)
    zero, one = (1 - math.exp(-0.05 * share) for share in (0.5, 0.3))
    clicks = sum(batch.pulses.size for batch in batches)
    assert within_six_sigmas(clicks, PULSES, zero + one - zero * one)
    ones = sum(int(batch.bits.sum()) for batch in batches)
    assert within_six_sigmas(ones, PULSES, one - zero * one / 2)


def test_background_and_dark_counts_add_up_to_the_noise() -> None:
    detector = Detector(0.5, 1e-3, 0.0, 0.5, background_photons=0.02)
    assert detector.noise == pytest.approx((1 - 0.999 * math.exp(-0.005),) * 2)


@pytest.mark.parametrize(("state", "efficiency"), [(0, 0.36), (1, 0.24), (2, 0.36), (3, 0.24)])
def test_a_mismatch_makes_the_detector_of_zero_the_better_one(
    state: int, efficiency: float
) -> None:
    detector = Detector(0.3, 0.0, 0.0, float(state < 2), efficiency_mismatch=0.4)
    assert detector.efficiencies == pytest.approx((0.36, 0.24))
    batch = detector.detect(frame_of(state, count=PULSES), physical_generator(2))
    assert within_six_sigmas(batch.pulses.size, PULSES, efficiency)
    assert set(batch.bits.tolist()) == {state & 1}


@pytest.mark.parametrize("dead", [1, 20, 1000])
def test_dead_time_slows_the_clicks_down(dead: int) -> None:
    pulses = pulses_of(frames(Detector(1.0, 0.01, 0.0, 0.5, memory=Memory(dead))))
    rested = 1 - 0.99**2
    rate = rested / (1 + rested * dead)
    assert np.diff(pulses).min() == dead + 1
    gaps_vary = 1 - rate * dead  # renewal theory: the count's spread against the binomial's
    assert abs(pulses.size - rate * PULSES) < 6 * gaps_vary * math.sqrt(rate * PULSES)


@pytest.mark.parametrize("memory", [Memory(0, 0.3, 5.0), Memory(7, 0.3, 5.0), Memory(3, 1.0, 1.0)])
def test_gaps_of_both_samplers_have_the_closed_form(
    memory: Memory, chi_square_fits: ChiSquare
) -> None:
    detector = Detector(1.0, 0.02, 0.0, 0.5, memory=memory)
    click = 1 - 0.98**2
    by_pulse = np.diff(pulses_of(frames(detector)))
    dark = click_table(WeakCoherentPulses((0.0,), (1.0,)), Fibre(0.0), detector)
    by_click, _ = ClickSampler(dark, memory, physical_generator(3)).draw(100_000)
    edges = np.arange(memory.dead_pulses, memory.dead_pulses + 150)
    chances = -np.diff([*survival(memory, click, edges - memory.dead_pulses), 0.0])
    for gaps in (by_pulse, by_click):
        counts = np.histogram(gaps, [*(edges + 0.5), np.inf])[0]
        assert chi_square_fits(counts, gaps.size * chances)
        assert gaps.mean() == pytest.approx(memory.mean_gap(click), rel=0.02)


def test_without_dead_time_afterpulses_add_their_share_to_few_clicks() -> None:
    memory = Memory(0, 0.04, 10.0)
    pulses = pulses_of(frames(Detector(1.0, 5e-5, 0.0, 0.5, memory=memory), pulses=1 << 26))
    rate = 1e-4 / (1 - 0.04)  # each click has 0.04 afterpulses, and these have theirs
    assert pulses.size == pytest.approx(rate * (1 << 26), rel=6 / math.sqrt(pulses.size))


def test_an_afterpulse_fires_the_detector_that_clicked_before() -> None:
    detector = Detector(0.01, 0.0, 0.0, 1.0, memory=Memory(5, 0.5, 2.0))
    batch = detector.detect(frame_of(1, count=PULSES), physical_generator(1))
    assert batch.pulses.size > 1.5 * 0.01 * PULSES
    assert batch.bits.all()


@pytest.mark.parametrize("own", [ZERO, ONE])
def test_an_afterpulse_beside_a_photon_of_the_other_detector_is_a_double_click(own: int) -> None:
    raw = Clicks(np.array([10, 11]), np.zeros(2, np.uint8), np.array([own, 3 - own], np.uint8))
    seen = Recovery(Memory(0, 1.0, 1.0)).apply(raw, (0, 12), no_bases, physical_generator(1))
    assert seen.patterns.tolist() == [own, BOTH]


def test_errors_of_afterpulses_are_a_half() -> None:
    """Lim 2014 counts p_ap D_k / 2 wrong bits for the afterpulses at intensity k."""
    detector = Detector(0.02, 0.0, 0.0, 0.5, memory=Memory(0, 0.3, 4.0))
    rng = physical_generator(4)
    cells, frame = LightSource(SinglePhotons(), key_basis_probability=0.5, rng=rng).emit(0, PULSES)
    batch = detector.detect(frame, rng)
    sent = cells[batch.pulses]
    same = (sent >> 1 & 1) == batch.bases
    wrong = int(((sent & 1) != batch.bits)[same].sum())
    click, echo = 0.02, 1 / 4
    lonely = 0.3 * echo * (1 - click) / (click + echo - click * echo)
    besides = 0.3 * echo * click / (click + echo - click * echo) / 4  # doubles, half of them wrong
    assert within_six_sigmas(wrong, int(same.sum()), lonely / 2 + besides)


def test_dead_time_and_afterpulses_reach_into_the_next_frame() -> None:
    recovery, rng = Recovery(Memory(3, 1.0, 1.0)), physical_generator(1)
    first = recovery.apply(one_click(98, ONE), (0, 100), no_bases, rng)
    second = recovery.apply(one_click(101, ZERO), (100, 104), some_bases, rng)
    assert (first.pulses.tolist(), second.pulses.tolist()) == ([98], [102])
    assert second.patterns.tolist() == [ONE]


@given(
    st.lists(st.sets(st.integers(0, 59), max_size=30), min_size=1, max_size=4),
    st.integers(0, 8),
    st.booleans(),
)
def test_recovery_is_what_a_loop_over_pulses_gives(
    spans: list[set[int]], dead: int, echoes: bool
) -> None:
    """Here every click, or none, has an afterpulse right after the dead time."""
    recovery, rng = Recovery(Memory(dead, float(echoes), 1.0)), physical_generator(1)
    raw = sorted(60 * i + pulse for i, span in enumerate(spans) for pulse in span)
    seen: list[int] = []
    for i in range(len(spans)):
        pulses = np.array([p for p in raw if p // 60 == i], np.int64)
        flags = np.ones(pulses.size, np.uint8)
        clicks = recovery.apply(
            Clicks(pulses, flags, flags), (60 * i, 60 * (i + 1)), some_bases, rng
        )
        seen += clicks.pulses.tolist()
        assert clicks.patterns.all()
    assert seen == in_a_loop(raw, 60 * len(spans), dead, echoes)


def in_a_loop(raw: list[int], end: int, dead: int, echoes: bool) -> list[int]:
    seen: list[int] = []
    for pulse in range(end):
        rested = not seen or pulse > seen[-1] + dead
        due = echoes and seen and pulse == seen[-1] + dead + 1
        if due or (rested and pulse in raw):
            seen.append(pulse)
    return seen


def test_light_after_a_gap_in_the_pulse_numbers_is_seen() -> None:
    recovery, rng = Recovery(Memory(3, 1.0, 1.0)), physical_generator(1)
    recovery.apply(one_click(5, ONE), (0, 10), some_bases, rng)
    far = (1 << 63) - 200
    seen = recovery.apply(one_click(far + 9, ZERO), (far, far + 11), some_bases, rng)
    assert far + 9 in seen.pulses or (far + 9 - seen.pulses.max()) <= 3
    assert (np.diff(seen.pulses) > 3).all()


def test_a_receiver_without_memory_keeps_every_click() -> None:
    raw = one_click(5, ONE)
    assert Recovery(Memory()).apply(raw, (0, 10), no_bases, physical_generator(1)) is raw


def one_click(pulse: int, pattern: int) -> Clicks:
    return Clicks(np.array([pulse]), np.zeros(1, np.uint8), np.array([pattern], np.uint8))


def no_bases(count: int) -> NDArray[np.uint8]:
    assert not count
    return np.zeros(0, np.uint8)


def some_bases(count: int) -> NDArray[np.uint8]:
    return np.ones(count, np.uint8)


# --- the whole channel ----------------------------------------------------------------------


@pytest.mark.parametrize("length_km", [0.0, 50.0, 150.0])
def test_the_table_is_the_channel_model_of_lim_2014(length_km: float) -> None:
    """D_k = 1 - (1 - 2 p_dc) exp(-eta k), e_k = p_dc + e_mis (1 - exp(-eta k)), section IV."""
    fibre, detector = Fibre(length_km), Detector(0.1, 6e-7, 5e-3, 0.8)
    table = click_table(LIM, fibre, detector).reshape(3, 2, 2, 2, 4)
    eta = fibre.transmittance * 0.1
    for level, (mean, share) in enumerate(zip(LIM.intensities, LIM.probabilities, strict=True)):
        clicks = table[level, ..., 1:].sum() / share
        seen = 1 - math.exp(-eta * mean)
        assert clicks == pytest.approx(1 - (1 - 2 * 6e-7) * (1 - seen), rel=1e-6)
        zeros_in_x = table[level, 0, 0, 0] / table[level, 0, 0, 0].sum()
        wrong = zeros_in_x[ONE] + zeros_in_x[BOTH] / 2
        assert wrong == pytest.approx(6e-7 + 5e-3 * seen, rel=0.03)


def test_a_click_table_holds_all_chances() -> None:
    detector = Detector(0.9, 0.01, 0.03, 0.7, efficiency_mismatch=0.1, background_photons=0.1)
    table = click_table(LIM, Fibre(1.0), detector).reshape(3, 2, 2, 2, 4)
    assert table.sum() == pytest.approx(1.0)
    assert table.sum(axis=(1, 2, 3, 4)) == pytest.approx(LIM.probabilities)
    assert table.sum(axis=(0, 2, 3, 4)) == pytest.approx([0.7, 0.3])
    assert table.sum(axis=(0, 1, 2, 4)) == pytest.approx([0.7, 0.3])


def test_states_of_silent_pulses_are_dimmer_than_those_of_all() -> None:
    table = click_table(LIM, Fibre(0.0), Detector(0.5, 0.0, 0.0, 0.8))
    silent = silent_states(table).reshape(3, 4)
    for level, (mean, share) in enumerate(zip(LIM.intensities, LIM.probabilities, strict=True)):
        chance = share * math.exp(-0.5 * mean)
        assert silent[level] == pytest.approx(chance * np.array([0.4, 0.4, 0.1, 0.1]))


def test_where_every_pulse_clicks_silent_ones_would_look_like_any() -> None:
    table = click_table(SinglePhotons(), Fibre(0.0), Detector(1.0, 0.0, 0.0, 0.8))
    assert silent_states(table) == pytest.approx([0.4, 0.4, 0.1, 0.1])


@pytest.mark.parametrize("probability", [1e-6, 0.02, 0.7, 1.0])
def test_geometric_waits(probability: float, chi_square_fits: ChiSquare) -> None:
    waits = geometric(physical_generator(1), probability, 200_000)
    last = max(2, int(2 / probability))
    edges = np.unique(np.linspace(0, last, 40).astype(np.int64))
    chances = -np.diff([*((1 - probability) ** edges), 0.0])
    counts = np.histogram(waits, [*(edges + 0.5), np.inf])[0]
    assert chi_square_fits(counts, waits.size * chances)
