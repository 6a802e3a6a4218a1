"""Decoy pulses: key lengths against vectors computed apart from this code."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkd_hal.distillation.channel_model import Light, Link, expected_rates
from qkd_hal.distillation.finite_key import binary_entropy
from qkd_hal.distillation.finite_key_decoy import (
    DecoyCounts,
    decoy_bound,
    decoy_secret_bits,
    exact_phase_error,
    printed_phase_error,
)
from qkd_hal.distillation.finite_key_sampling import hypergeometric_log_tail

LIM = Light((0.55, 0.12, 2e-4), (0.55, 0.30, 0.15))
LIM_LINK = Link(20.0, 0.1, 6e-7, 0.04, 5e-3)
RUSCA = Light((0.5, 0.15), (0.7, 0.3))
RUSCA_LINK = Link(20.0, 0.5, 0.5e-8, 0.0, 0.01, 1e9, 100e-9, matching_clicks_only=True)
LEVELS = {2: RUSCA, 3: LIM}


def expected_counts(
    link: Link, light: Light, key_basis: float, key_bits: float
) -> tuple[DecoyCounts, float]:
    """Return the expected counts of a block, and the pulses that it takes."""
    rates = expected_rates(link, light, key_basis)
    pulses = key_bits / sum(rates.key)
    kinds = rates.key, rates.test, rates.test_errors, rates.key_errors
    return DecoyCounts(*([pulses * rate for rate in kind] for kind in kinds)), pulses


COUNTS, PULSES = expected_counts(LIM_LINK, LIM, 0.85, 1e7)
ONE_DECOY, ONE_DECOY_PULSES = expected_counts(RUSCA_LINK, RUSCA, 0.9, 1e7)


def bits(counts: DecoyCounts, leak: float = 0, eps: float = 1e-10, cor: float = 1e-15) -> int:
    light = LEVELS[len(counts.key)]
    return decoy_secret_bits(counts, light.intensities, light.probabilities, leak, eps, cor)


def test_two_decoys_match_the_fixed_vector() -> None:
    levels = LIM.intensities, LIM.probabilities
    bound = decoy_bound(COUNTS, *levels, 1e-10, printed_phase_error)
    assert bound.vacuum_key == 0
    assert bound.single_key == pytest.approx(5563775.18, abs=0.01)
    assert bound.single_test == pytest.approx(134560.52, abs=0.01)
    assert bound.single_test_errors == pytest.approx(11059.49, abs=0.01)
    assert bound.phase_error == pytest.approx(0.0893531, abs=1e-7)
    observed = sum(COUNTS.errors) / sum(COUNTS.test)
    assert observed == pytest.approx(0.0257201, abs=1e-7)
    leak = 1.16 * binary_entropy(observed) * 1e7
    length = decoy_secret_bits(COUNTS, *levels, leak, 1e-10, 1e-15, printed_phase_error)
    assert length == 1146674
    assert length / PULSES == pytest.approx(2.92641e-5, rel=1e-5)


@pytest.mark.parametrize(("dead_time", "expected"), [(100e-9, 438417), (0, 509337)])
def test_one_decoy_matches_the_fixed_vector(dead_time: float, expected: int) -> None:
    link = replace(RUSCA_LINK, dead_time_s=dead_time)
    counts, pulses = expected_counts(link, RUSCA, 0.9, 1e7)
    leak = 1.16 * binary_entropy(sum(counts.key_errors) / 1e7) * 1e7
    levels = RUSCA.intensities, RUSCA.probabilities
    length = decoy_secret_bits(counts, *levels, leak, 1e-9, 1e-15, printed_phase_error)
    assert length / pulses * 1e9 == pytest.approx(expected, rel=2e-6)


def test_vacuum_events_count_when_the_dimmest_pulses_show_them() -> None:
    dark = DecoyCounts(key=(8e6, 1e6, 1e5), test=(8e5, 1e5, 1e4), errors=(8e3, 1e3, 5e3))
    vacuum = decoy_bound(dark, LIM.intensities, LIM.probabilities, 1e-10).vacuum_key
    width = math.sqrt(9.1e6 / 2 * math.log(21 / 1e-10))
    pairs = zip(LIM.intensities, LIM.probabilities, strict=True)
    tau0 = sum(p * math.exp(-mu) for mu, p in pairs)
    low = math.exp(2e-4) / 0.15 * (1e5 - width)
    high = math.exp(0.12) / 0.30 * (1e6 + width)
    assert vacuum == pytest.approx(tau0 * (0.12 * low - 2e-4 * high) / (0.12 - 2e-4))


def test_vacuum_events_of_one_decoy() -> None:
    dark = DecoyCounts((8e6, 4e6), (8e5, 4e5), (8e3, 1e3), (8e4, 1e4))
    vacuum = decoy_bound(dark, RUSCA.intensities, RUSCA.probabilities, 1e-10).vacuum_key
    width = math.sqrt(12e6 / 2 * math.log(19 / 1e-10))
    tau0 = 0.7 * math.exp(-0.5) + 0.3 * math.exp(-0.15)
    low = math.exp(0.15) / 0.3 * (4e6 - width)
    high = math.exp(0.5) / 0.7 * (8e6 + width)
    assert vacuum == pytest.approx(tau0 * (0.5 * low - 0.15 * high) / 0.35)


def test_too_few_decoys_give_no_key() -> None:
    few = DecoyCounts(key=(900, 80, 1), test=(90, 8, 0), errors=(1, 0, 0))
    bound = decoy_bound(few, LIM.intensities, LIM.probabilities, 1e-10)
    assert bound.phase_error == 0.5
    assert bits(few) < 0
    nothing = decoy_bound(few, LIM.intensities, LIM.probabilities, 1e-10, printed_phase_error)
    assert nothing.phase_error == 0.5


@pytest.mark.parametrize(
    "odd",
    [
        # Brighter pulses that click less than dimmer ones: no honest channel does that.
        DecoyCounts((100, 1e6, 50), (10, 1e5, 5), (1, 100, 1)),
        DecoyCounts((100, 1e6), (10, 1e5), (1, 100), (10, 1000)),
    ],
)
def test_bounds_never_exceed_what_was_counted(odd: DecoyCounts) -> None:
    light = LEVELS[len(odd.key)]
    bound = decoy_bound(odd, light.intensities, light.probabilities, 1e-10)
    assert bound.vacuum_key + bound.single_key == sum(odd.key)
    assert bound.single_test <= sum(odd.test)
    assert min(bound.vacuum_key, bound.single_key, bound.single_test) >= 0


@pytest.mark.parametrize("seen", [0, 1, 20, 1000])
def test_the_printed_gamma_falls_short_of_what_the_exact_bound_promises(seen: int) -> None:
    events, sample = 500_000, 100_000
    limit = 2 * math.log(1e-10 / 21)

    def promise(phase_error: float) -> float:
        errors = math.ceil(phase_error * events)
        return hypergeometric_log_tail(seen, seen + errors, events, sample)

    assert promise(exact_phase_error(seen, sample, events, 1e-10)) <= limit
    assert promise(printed_phase_error(seen, sample, events, 1e-10)) > limit + 5


def test_key_errors_of_one_decoy_show_vacuum_events() -> None:
    assert ONE_DECOY.key_errors
    worse = replace(ONE_DECOY, key_errors=[2 * n for n in ONE_DECOY.key_errors])
    assert bits(worse) < bits(ONE_DECOY)
    unknown = replace(ONE_DECOY, key_errors=ONE_DECOY.key)
    assert bits(unknown) < 0


scales = st.floats(min_value=0, max_value=1)


@given(st.sampled_from([COUNTS, ONE_DECOY]), scales, scales, st.floats(min_value=1e-3, max_value=1))
def test_worse_never_gives_more(
    counts: DecoyCounts, fewer: float, worse: float, share: float
) -> None:
    def scaled(factor: float, errors: float) -> DecoyCounts:
        return DecoyCounts(
            [n * factor for n in counts.key],
            [n * factor for n in counts.test],
            [n * factor * errors for n in counts.errors],
            [n * factor * errors for n in counts.key_errors],
        )

    honest = scaled(share, 1.0)
    leak = 0.2 * sum(honest.key)
    length = bits(honest, leak)
    assert bits(scaled(share, 1 + 5 * worse), leak) <= length
    assert bits(scaled(share * fewer * 0.98, 1.0), leak * fewer * 0.98) <= max(0, length)
    assert bits(honest, leak, eps=1e-10 * max(1e-4, worse)) <= length
    assert bits(honest, leak, cor=1e-15 * max(1e-4, worse)) <= length
    assert bits(honest, leak + 100) == length - 100


counted = st.integers(min_value=0, max_value=10**7)


@given(st.sampled_from([2, 3]), st.data())
def test_whatever_was_counted_no_more_than_that_is_secret(levels: int, data: st.DataObject) -> None:
    several = st.lists(counted, min_size=levels, max_size=levels)
    key, test, errors, key_errors = (data.draw(several) for _ in range(4))
    light = LEVELS[levels]
    counts = DecoyCounts(key, test, errors, key_errors)
    bound = decoy_bound(counts, light.intensities, light.probabilities, 1e-10)
    assert 0 <= bound.phase_error <= 0.5
    assert 0 <= bound.vacuum_key <= bound.vacuum_key + bound.single_key <= sum(key) * (1 + 1e-12)
    assert bits(counts, leak=10) < sum(key)


def test_errors_that_only_the_dimmest_pulses_have_never_help() -> None:
    odd = replace(COUNTS, errors=(7e3, 1e3, 5e4))
    bound = decoy_bound(odd, LIM.intensities, LIM.probabilities, 1e-10)
    assert bound.single_test_errors > 0
