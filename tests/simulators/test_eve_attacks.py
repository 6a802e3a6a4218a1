"""Eve's attacks against their closed forms. Seeded; each tolerance is six standard deviations.

A correct model fails one such check in 5e8 seeds, so a failure after a change of seed is a
fault and not bad luck.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest

from qkd_hal.distillation.finite_key import binary_entropy
from qkd_hal.distillation.parameters import DistillationParameters
from qkd_hal.errors import UsageError
from qkd_hal_simulators.channel import ChannelSettings
from qkd_hal_simulators.eavesdropping import observe, target_of
from qkd_hal_simulators.eve_report import single_photon_share
from qkd_hal_simulators.physics.eve import (
    ATTACKS,
    BeamSplitting,
    Budget,
    Hands,
    InterceptResend,
    Noise,
    PhotonNumberSplitting,
    make_attack,
)
from qkd_hal_simulators.physics.eve.notebook import BREIDBART_CERTAINTY
from qkd_hal_simulators.physics.fibre import Fibre
from qkd_hal_simulators.physics.frame import PhotonFrame
from qkd_hal_simulators.physics.random import physical_generator

if TYPE_CHECKING:
    from collections.abc import Callable

    from qkd_hal_simulators.eavesdropping import Observation
    from qkd_hal_simulators.physics.eve import Attack

SIGMAS = 6.0
PULSES = 1 << 18
SINGLE = DistillationParameters.short()
WEAK = DistillationParameters()
REAL = ChannelSettings(
    30.0,
    efficiency_mismatch=0.1,
    background_photons=1e-4,
    intensity_noise=0.05,
    dead_time_ns=20.0,
    afterpulse_probability=0.02,
    afterpulse_ns=10.0,
)
PERFECT = ChannelSettings(0.0, efficiency=1.0, dark_count_probability=0.0, misalignment=0.0)
FAR = ChannelSettings(50.0)
DARKLESS = ChannelSettings(10.0, dark_count_probability=0.0, misalignment=0.0)


def assert_rate(hits: float, trials: int, probability: float) -> None:
    deviation = math.sqrt(trials * probability * (1 - probability))
    assert abs(hits - trials * probability) <= SIGMAS * deviation + 1e-9


def run(
    attack: Attack,
    parameters: DistillationParameters = SINGLE,
    channel: ChannelSettings = PERFECT,
    pulses: int = PULSES,
) -> Observation:
    rng = physical_generator(5)
    return observe(attack, parameters, channel, pulses=pulses, rng=rng)


def assert_errors(seen: Observation, key: float, test: float) -> None:
    counts = seen.estimation
    assert_rate(sum(counts.key_errors), counts.key_bits, key)
    assert_rate(sum(counts.errors), counts.test_bits, test)


def uniform(count: int, photons: int) -> PhotonFrame:
    return PhotonFrame(0, count, np.arange(count), np.full(count, photons << 2, np.uint8))


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_intercept_resend_costs_a_quarter_and_tells_half(share: float) -> None:
    seen = run(InterceptResend(share))
    assert_errors(seen, share / 4, share / 4)
    assert_rate(seen.knowledge.known, seen.knowledge.bits, share / 2)
    assert_rate(seen.guesses_right, seen.knowledge.bits, 0.5 + share / 4)
    assert seen.knowledge.shannon_bits == seen.knowledge.min_entropy_bits == seen.knowledge.known


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_breidbart_costs_the_same_and_lets_eve_guess_better(share: float) -> None:
    seen, plain = run(InterceptResend(share, "breidbart")), run(InterceptResend(share))
    assert_errors(seen, share / 4, share / 4)
    known = seen.knowledge
    assert known.known == 0
    assert_rate(known.guessed, known.bits, share)
    right = share * BREIDBART_CERTAINTY + (1 - share) / 2
    assert_rate(seen.guesses_right, known.bits, right)
    assert known.guess_probability == pytest.approx(math.cos(math.pi / 8) ** 2)
    per_bit = known.shannon_bits / known.guessed
    assert per_bit == pytest.approx(1 - binary_entropy(BREIDBART_CERTAINTY))
    assert known.min_entropy_bits / known.guessed == pytest.approx(0.7715, abs=1e-4)
    assert known.min_entropy_bits > 1.4 * plain.knowledge.min_entropy_bits
    assert known.shannon_bits < 0.85 * plain.knowledge.shannon_bits


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_measuring_the_key_basis_shows_in_the_test_basis_alone(share: float) -> None:
    seen = run(InterceptResend(share, "x"))
    assert sum(seen.estimation.key_errors) == 0
    assert_errors(seen, 0.0, share / 2)
    assert_rate(seen.knowledge.known, seen.knowledge.bits, share)


def test_what_eve_is_sure_of_is_right() -> None:
    seen = run(InterceptResend(1.0, "x"))
    assert seen.guesses_right == seen.knowledge.known == seen.knowledge.bits


def test_measuring_the_test_basis_tells_nothing_and_shows_in_the_key() -> None:
    seen = run(InterceptResend(1.0, "z"))
    assert_errors(seen, 0.5, 0.0)
    assert (seen.knowledge.shannon_bits, seen.estimation.qber) == (0.0, 0.0)
    assert seen.secret_bits(SINGLE) == 0


def test_errors_of_the_key_basis_alone_end_a_block_too() -> None:
    seen = run(InterceptResend(0.3, "z"))
    assert seen.key_qber > SINGLE.qber_threshold
    assert seen.secret_bits(replace(SINGLE, qber_threshold=0.4)) > 0
    assert seen.secret_bits(SINGLE) == 0


@pytest.mark.parametrize("basis", ["random", "x", "z"])
def test_eve_resends_as_many_photons_as_came(basis: Any) -> None:
    frame = uniform(1000, 3)
    sent = InterceptResend(1.0, basis).tap(frame, physical_generator(1))
    assert np.array_equal(sent.photons, frame.photons)
    assert np.array_equal(sent.lit, frame.lit)


def test_breidbart_photons_are_sent_one_by_one() -> None:
    sent = InterceptResend(1.0, "breidbart").tap(uniform(1000, 3), physical_generator(1))
    assert set(sent.photons.tolist()) == {1}


@pytest.mark.parametrize("share", [0.1, 1.0])
def test_noise_spoils_half_of_what_it_touches_and_tells_nothing(share: float) -> None:
    seen = run(Noise(share))
    assert_errors(seen, share / 2, share / 2)
    assert seen.knowledge.shannon_bits == 0
    assert_rate(seen.guesses_right, seen.knowledge.bits, 0.5)


def test_a_beam_splitter_loses_each_photon_as_the_fibre_does() -> None:
    fibre = Fibre(20.0)
    arrived = BeamSplitting(fibre).tap(uniform(PULSES, 2), physical_generator(3))
    through = fibre.transmittance
    assert_rate(int((arrived.photons == 2).sum()), PULSES, through**2)
    assert_rate(int((arrived.photons == 1).sum()), PULSES, 2 * through * (1 - through))


def test_beam_splitting_knows_the_pulses_of_which_it_kept_light() -> None:
    seen = run(BeamSplitting(DARKLESS.fibre), WEAK, DARKLESS, 1 << 21)
    through = DARKLESS.fibre.transmittance
    clicks = [1 - math.exp(-mu * through * DARKLESS.efficiency) for mu in WEAK.intensities]
    keeps = [1 - math.exp(-mu * (1 - through)) for mu in WEAK.intensities]
    weights = [p * c for p, c in zip(WEAK.intensity_probabilities, clicks, strict=True)]
    expected = sum(w * k for w, k in zip(weights, keeps, strict=True)) / sum(weights)
    assert_rate(seen.knowledge.known, seen.knowledge.bits, expected)
    assert_rate(seen.guesses_right, seen.knowledge.bits, 0.5 + expected / 2)
    assert_rate(seen.detections, seen.pulses, sum(weights))
    assert sum(seen.estimation.key_errors) == 0


def test_beam_splitting_part_of_the_light_knows_part_of_it() -> None:
    whole = run(BeamSplitting(DARKLESS.fibre), WEAK, DARKLESS, 1 << 21).knowledge
    part = run(BeamSplitting(DARKLESS.fibre, 0.25), WEAK, DARKLESS, 1 << 21).knowledge
    assert_rate(part.known, part.bits, 0.25 * whole.known / whole.bits)


@pytest.mark.parametrize("attack", [BeamSplitting, PhotonNumberSplitting])
def test_splitting_single_photons_tells_nothing(attack: Any) -> None:
    blocked = {"blocked": 0.0} if attack is PhotonNumberSplitting else {}
    seen = run(attack(DARKLESS.fibre, **blocked), SINGLE, DARKLESS)
    assert seen.knowledge.shannon_bits == 0


def test_splitting_takes_one_photon_of_several_and_blocks_single_ones() -> None:
    splitter = PhotonNumberSplitting(Fibre(20.0), blocked=0.3, blocked_split=0.2)
    rng = physical_generator(4)
    single = splitter.tap(uniform(PULSES, 1), rng)
    assert_rate(single.lit.size, PULSES, 0.7)
    assert set(single.photons.tolist()) == {1}
    several = splitter.tap(uniform(PULSES, 3), rng)
    assert_rate(several.lit.size, PULSES, 0.8)
    assert set(several.photons.tolist()) == {2}
    assert splitter.hands.blocked == 2 * PULSES - single.lit.size - several.lit.size


def test_eve_keeps_the_photons_that_she_blocks() -> None:
    splitter = PhotonNumberSplitting(Fibre(20.0), blocked=1.0)
    splitter.tap(uniform(1000, 1), physical_generator(4))
    assert splitter.hands.notes.held == 1000


def test_light_that_eve_does_not_split_takes_the_fibre() -> None:
    fibre = Fibre(20.0)
    splitter = PhotonNumberSplitting(fibre, fraction=0.0, blocked=1.0)
    arrived = splitter.tap(uniform(PULSES, 1), physical_generator(4))
    assert_rate(arrived.lit.size, PULSES, fibre.transmittance)


@pytest.mark.parametrize("length_km", [5.0, 20.0, 50.0])
def test_splitting_keeps_the_rate_that_the_two_expect(length_km: float) -> None:
    channel = replace(FAR, length_km=length_km)
    target = target_of(WEAK, channel)
    seen = run(PhotonNumberSplitting.keeping_rate(target), WEAK, channel, 1 << 21)
    assert_rate(seen.detections, seen.pulses, target.honest_clicks)
    assert_errors(seen, 0.01, 0.01)


@pytest.mark.parametrize("channel", [FAR, REAL])
def test_the_rate_that_the_two_expect_is_that_of_an_untapped_line(
    channel: ChannelSettings,
) -> None:
    seen = run(InterceptResend(0.0), WEAK, channel, 1 << 21)
    assert_rate(seen.detections, seen.pulses, target_of(WEAK, channel).honest_clicks)


def test_detectors_rest_across_frames() -> None:
    channel = replace(PERFECT, dead_time_ns=100.0)
    seen = observe(
        InterceptResend(0.0),
        SINGLE,
        channel,
        pulses=6464,
        rng=physical_generator(5),
        frame_pulses=32,
    )
    assert seen.detections == 64


def test_splitting_favours_bright_pulses() -> None:
    target = target_of(WEAK, DARKLESS)
    splitter = PhotonNumberSplitting.keeping_rate(target)
    seen = run(splitter, WEAK, DARKLESS, 1 << 21)
    sifted = WEAK.key_basis_probability**2
    for level, mu in enumerate(WEAK.intensities):
        single = mu * math.exp(-mu) * (1 - splitter.blocked) * DARKLESS.efficiency
        split = sum(
            math.exp(-mu) * mu**n / math.factorial(n) * (1 - (1 - DARKLESS.efficiency) ** (n - 1))
            for n in range(2, 15)
        )
        emitted = WEAK.intensity_probabilities[level] * sifted
        assert_rate(seen.estimation.key[level], seen.pulses, emitted * (single + split))


def test_decoys_catch_the_splitting_that_the_error_rate_does_not_show() -> None:
    pulses = 1 << 24
    honest = run(InterceptResend(0.0), WEAK, FAR, pulses)
    split = run(make_attack("photon-number-splitting", target_of(WEAK, FAR)), WEAK, FAR, pulses)
    assert_errors(honest, 0.01, 0.01)
    assert_errors(split, 0.01, 0.01)
    assert split.knowledge.known > 0.999 * split.knowledge.bits
    # Without decoys: rate and error rate are as always, and most of the key looks secret.
    naive = split.estimation.key_bits * (1 - 2 * binary_entropy(split.estimation.qber))
    assert naive > 0.8 * split.estimation.key_bits
    assert (single_photon_share(honest.estimation, WEAK) or 0) > 0.4
    assert single_photon_share(split.estimation, WEAK) == 0
    assert honest.secret_bits(WEAK) > 0
    assert split.secret_bits(WEAK) == 0


@pytest.mark.parametrize(
    "make",
    [
        lambda: InterceptResend(1.5),
        lambda: Noise(-0.1),
        lambda: BeamSplitting(Fibre(1.0), 1.5),
        lambda: PhotonNumberSplitting(Fibre(1.0), 1.5),
        lambda: PhotonNumberSplitting(Fibre(1.0), blocked=math.nan),
        lambda: PhotonNumberSplitting(Fibre(1.0), blocked_split=2.0),
        lambda: InterceptResend(basis=cast("Any", "y")),
    ],
)
def test_a_share_or_basis_that_is_none_is_refused(make: Callable[[], Attack]) -> None:
    with pytest.raises(UsageError):
        make()


def test_an_attack_ends_where_its_budget_does() -> None:
    attack = InterceptResend(hands=Hands(Budget(total=1500)))
    rng = physical_generator(1)
    frame = uniform(1000, 1)
    for _ in range(3):
        attack.tap(frame, rng)
    assert (attack.hands.budget.spent, attack.hands.budget.refused) == (1500, 1500)
    assert attack.hands.seen == 3000


@pytest.mark.parametrize("spec", [*ATTACKS, "intercept-resend:basis=breidbart"])
def test_an_attack_leaves_the_light_that_it_was_given_alone(spec: str) -> None:
    frame = uniform(1000, 2)
    frame.states.flags.writeable = False  # as it comes from the wire
    sent = make_attack(spec, target_of(WEAK, FAR)).tap(frame, physical_generator(1))
    assert sent.states is not frame.states
    assert set(frame.states.tolist()) == {2 << 2}


def test_untapped_pulses_pass_unchanged() -> None:
    attack = Noise(hands=Hands(Budget(total=10)))
    frame = uniform(1000, 2)
    sent = attack.tap(frame, physical_generator(1))
    assert np.array_equal(sent.states[10:], frame.states[10:])
    assert (sent.states[:10] != frame.states[:10]).any()
    assert np.array_equal(sent.photons, frame.photons)
