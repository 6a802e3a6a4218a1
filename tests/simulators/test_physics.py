"""Statistics of the simulated optics. Seeded; each tolerance is six standard deviations.

A correct model fails one such check in 5e8 seeds, so a failure after a change of seed is a
fault and not bad luck.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from qkd_hal.entropy import SystemEntropy
from qkd_hal.errors import ProtocolError, UsageError
from qkd_hal_simulators.physics.detector import Detector
from qkd_hal_simulators.physics.emission_log import FrameLog
from qkd_hal_simulators.physics.eve import InterceptResend
from qkd_hal_simulators.physics.fibre import Fibre
from qkd_hal_simulators.physics.frame import PhotonFrame
from qkd_hal_simulators.physics.random import (
    DiscreteSampler,
    bernoulli,
    distinct_positions,
    physical_generator,
)
from qkd_hal_simulators.physics.source import LightSource, SinglePhotons, WeakCoherentPulses

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qkd_hal.sources import DetectionBatch

SIGMAS = 6.0
PULSES = 1 << 20
WCP = WeakCoherentPulses((0.5, 0.15, 0.0002), (0.7, 0.2, 0.1))


def assert_rate(hits: int, trials: int, probability: float) -> None:
    deviation = math.sqrt(trials * probability * (1 - probability))
    assert abs(hits - trials * probability) <= SIGMAS * deviation + 1e-9


def rng(seed: int = 1) -> np.random.Generator:
    return physical_generator(seed)


def light(kind: WeakCoherentPulses | SinglePhotons, key_basis: float = 0.8) -> LightSource:
    return LightSource(kind, key_basis_probability=key_basis, rng=rng(2))


def ideal(key_basis: float = 0.5) -> Detector:
    return Detector(1.0, 0.0, 0.0, key_basis)


def uniform_frame(count: int, state: int) -> PhotonFrame:
    return PhotonFrame(0, count, np.arange(count), np.full(count, state, np.uint8))


def matching_errors(cells: NDArray[np.uint8], batch: DetectionBatch) -> tuple[int, int]:
    sent = cells[batch.pulses - batch.first_pulse]
    same = (sent >> 1 & 1) == batch.bases
    return int(((sent & 1) != batch.bits)[same].sum()), int(same.sum())


@pytest.mark.parametrize("probability", [0.0, 1e-6, 0.3, 0.5 + 2**-20, 1 - 1e-6, 1.0])
def test_bernoulli_has_its_probability(probability: float) -> None:
    hits = int(bernoulli(rng(), probability, PULSES).sum())
    assert_rate(hits, PULSES, probability)


def test_bernoulli_is_finer_than_its_first_sixteen_bits() -> None:
    hits = int(bernoulli(rng(), 2.0**-18, 1 << 24).sum())
    assert_rate(hits, 1 << 24, 2.0**-18)


def test_sampler_draws_each_cell_with_its_probability() -> None:
    weights = [0.5, 0.25, 1e-5, 0.0, 0.125, 0.12499]
    drawn = np.bincount(DiscreteSampler(weights).draw(rng(), PULSES), minlength=6)
    for count, weight in zip(drawn.tolist(), weights, strict=True):
        assert_rate(count, PULSES, weight / sum(weights))


def test_sampler_resolves_cells_smaller_than_its_table_steps() -> None:
    tiny = 2.0**-20
    sampler = DiscreteSampler([0.5, tiny, 0.5 - tiny])
    count = sum(int((sampler.draw(rng(seed), 1 << 22) == 1).sum()) for seed in range(4))
    assert_rate(count, 4 << 22, tiny)


def test_distinct_positions_are_distinct_and_as_many_as_the_probability_says() -> None:
    found = distinct_positions(rng(), 0.4, 10_000)
    assert (np.diff(found) > 0).all()
    assert 0 <= found[0] <= found[-1] < 10_000
    assert_rate(found.size, 10_000, 0.4)


def test_a_generator_replays_its_seed_and_takes_its_entropy() -> None:
    draws = [physical_generator(seed).bytes(16) for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]
    fresh = [physical_generator(SystemEntropy()).bytes(16) for _ in range(2)]
    assert fresh[0] != fresh[1]


def test_source_has_poissonian_light_and_biased_bases() -> None:
    cells, frame = light(WCP).emit(0, PULSES)
    photons = cells // 12
    for level, (mean, share) in enumerate(zip(WCP.intensities, WCP.probabilities, strict=True)):
        for count in range(3):
            hits = int(((cells >> 2) % 3 == level)[photons == count].sum())
            poisson = math.exp(-mean) * mean**count / math.factorial(count)
            assert_rate(hits, PULSES, share * poisson)
    assert_rate(int((cells >> 1 & 1).sum()), PULSES, 0.2)
    assert_rate(int((cells & 1).sum()), PULSES, 0.5)
    assert frame.lit.size == int((photons > 0).sum())


def test_the_light_shows_states_but_not_intensities() -> None:
    cells, frame = light(WCP).emit(100, 1 << 16)
    lit = cells[frame.lit]
    assert np.array_equal(frame.bits, lit & 1)
    assert np.array_equal(frame.bases, lit >> 1 & 1)
    assert np.array_equal(frame.photons, lit // 12)
    assert not hasattr(frame, "intensities")


def test_a_single_photon_source_has_one_photon_in_each_pulse() -> None:
    _, frame = light(SinglePhotons()).emit(0, 1000)
    assert frame.lit.size == 1000
    assert set(frame.photons.tolist()) == {1}


def test_a_source_refuses_more_intensities_than_a_cell_holds() -> None:
    with pytest.raises(UsageError, match="at most 3"):
        light(WeakCoherentPulses((0.5, 0.2, 0.1, 0.05), (0.25, 0.25, 0.25, 0.25)))


def test_fibre_loses_each_photon_on_its_own() -> None:
    fibre = Fibre(10.0, 0.2, 1.0)
    assert fibre.transmittance == pytest.approx(10**-0.3)
    arrived = fibre.transmit(uniform_frame(PULSES, 2 << 2), rng())
    through = fibre.transmittance
    assert_rate(int((arrived.photons == 2).sum()), PULSES, through**2)
    assert_rate(int((arrived.photons == 1).sum()), PULSES, 2 * through * (1 - through))


def test_detector_clicks_as_often_as_its_efficiency_says() -> None:
    frame = uniform_frame(PULSES, 1 << 2)
    batch = Detector(0.3, 0.0, 0.0, 0.7).detect(frame, rng())
    assert_rate(batch.pulses.size, PULSES, 0.3)
    assert_rate(int((batch.bases == 0).sum()), batch.pulses.size, 0.7)


def test_a_perfect_channel_has_no_errors_and_random_bits_in_the_other_basis() -> None:
    cells, frame = light(SinglePhotons()).emit(0, PULSES)
    batch = ideal().detect(frame, rng())
    errors, matching = matching_errors(cells, batch)
    assert errors == 0
    assert_rate(matching, PULSES, 0.5)
    other = batch.bits[(cells >> 1 & 1) != batch.bases]
    assert_rate(int(other.sum()), other.size, 0.5)


def test_misalignment_is_the_error_rate() -> None:
    cells, frame = light(SinglePhotons()).emit(0, PULSES)
    errors, matching = matching_errors(cells, Detector(1.0, 0.0, 0.03, 0.5).detect(frame, rng()))
    assert_rate(errors, matching, 0.03)


def test_double_clicks_become_random_bits() -> None:
    zeros_in_x = uniform_frame(PULSES, 15 << 2)
    batch = Detector(1.0, 0.0, 0.5, 1.0).detect(zeros_in_x, rng())
    assert_rate(int(batch.bits.sum()), PULSES, 0.5)  # both fire in all but 2^-14 of the pulses
    assert batch.pulses.size == PULSES


def test_dark_counts_fire_either_detector_and_give_random_bits() -> None:
    dark = PhotonFrame(7, PULSES, np.zeros(0, np.int64), np.zeros(0, np.uint8))
    batch = Detector(1.0, 0.01, 0.0, 0.5).detect(dark, rng())
    assert_rate(batch.pulses.size, PULSES, 1 - 0.99**2)
    assert_rate(int(batch.bits.sum()), batch.pulses.size, 0.5)
    assert (np.diff(batch.pulses) > 0).all()
    assert (batch.first_pulse, batch.end_pulse) == (7, 7 + PULSES)


def test_a_dark_count_beside_a_photon_is_a_double_click() -> None:
    zeros_in_x = uniform_frame(1 << 16, 1 << 2)
    batch = Detector(1.0, 0.2, 0.0, 1.0).detect(zeros_in_x, rng())
    assert batch.pulses.size == 1 << 16
    assert_rate(int(batch.bits.sum()), 1 << 16, 0.2 / 2)


def test_intercept_resend_makes_a_quarter_of_errors_in_both_bases() -> None:
    cells, frame = light(SinglePhotons(), key_basis=0.5).emit(0, PULSES)
    batch = ideal().detect(InterceptResend().tap(frame, rng(3)), rng())
    for basis in (0, 1):
        part = batch.bases == basis
        sent = cells[part]
        same = (sent >> 1 & 1) == basis
        assert_rate(int(((sent & 1) != batch.bits[part])[same].sum()), int(same.sum()), 0.25)


def test_eve_on_a_fraction_makes_that_part_of_a_quarter() -> None:
    cells, frame = light(SinglePhotons()).emit(0, PULSES)
    tapped = InterceptResend(0.2).tap(frame, rng(3))
    errors, matching = matching_errors(cells, ideal().detect(tapped, rng()))
    assert_rate(errors, matching, 0.05)


def test_eve_keeps_the_photon_number() -> None:
    _, frame = light(WCP).emit(0, 1 << 16)
    assert np.array_equal(InterceptResend().tap(frame, rng()).photons, frame.photons)


def test_the_log_remembers_frames_until_they_are_discarded() -> None:
    source = light(WCP)
    log = FrameLog(intensities=3, first_pulse=0)
    cells = [source.emit(start, 1000)[0] for start in (0, 1000, 2000)]
    for frame in cells:
        log.add(frame.copy())
    whole = np.concatenate(cells)
    pulses = np.array([0, 999, 1000, 1500, 2999])
    states = log.states(pulses)
    assert np.array_equal(states.bits, whole[pulses] & 1)
    assert np.array_equal(states.bases, whole[pulses] >> 1 & 1)
    assert np.array_equal(states.intensities, (whole[pulses] >> 2) % 3)
    log.discard(1500)
    assert (log.held, log.end) == (2000, 3000)
    assert np.array_equal(log.states(np.array([1500])).bits, whole[[1500]] & 1)


@pytest.mark.parametrize("pulse", [999, 3000])
def test_the_log_refuses_pulses_that_it_does_not_hold(pulse: int) -> None:
    log = FrameLog(intensities=1, first_pulse=1000)
    log.add(np.zeros(2000, np.uint8))
    with pytest.raises(ProtocolError, match="no longer remembered"):
        log.states(np.array([pulse]))


def test_discarding_overwrites_the_cells() -> None:
    log = FrameLog(intensities=1, first_pulse=0)
    cells = np.full(10, 5, np.uint8)
    log.add(cells)
    log.discard(10)
    assert not cells.any()
