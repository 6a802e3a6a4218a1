"""Key lengths against vectors computed apart from this code."""

import math

import pytest

from qkd_hal.distillation.finite_key import (
    DecoyCounts,
    binary_entropy,
    decoy_bound,
    decoy_secret_bits,
    random_sampling_gamma,
    sampling_deviation,
    single_photon_secret_bits,
)

INTENSITIES = (0.55, 0.12, 2e-4)
PROBABILITIES = (0.55, 0.30, 0.15)


def expected_counts(key_bits: float, km: float, key_basis: float) -> tuple[DecoyCounts, float]:
    """Channel model of Lim 2014, section IV: expected counts, and the pulses they take."""
    dark, afterpulse, misaligned = 6e-7, 4e-2, 5e-3
    arrival = [0.1 * 10 ** (-0.02 * km) * mu for mu in INTENSITIES]
    clicks = [1 - (1 - 2 * dark) * math.exp(-x) for x in arrival]
    errors = [
        dark + misaligned * (1 - math.exp(-x)) + afterpulse * click / 2
        for x, click in zip(arrival, clicks, strict=True)
    ]
    gains = [p * click * (1 + afterpulse) for p, click in zip(PROBABILITIES, clicks, strict=True)]
    pulses = key_bits / (key_basis**2 * sum(gains))
    tests = pulses * (1 - key_basis) ** 2
    wrong = [tests * p * error for p, error in zip(PROBABILITIES, errors, strict=True)]
    key = [pulses * key_basis**2 * gain for gain in gains]
    return DecoyCounts(key, [tests * gain for gain in gains], wrong), pulses


COUNTS, PULSES = expected_counts(1e7, km=100, key_basis=0.85)


def test_the_channel_model_is_that_of_the_fixed_vector() -> None:
    assert pytest.approx(3.9183617443e10, rel=1e-9) == PULSES
    assert COUNTS.key == pytest.approx((8923350.1, 1070467.0, 6182.9), abs=0.1)
    assert COUNTS.errors == pytest.approx((6968.07, 958.46, 83.18), abs=0.01)


def test_decoy_bounds_match_the_fixed_vector() -> None:
    bound = decoy_bound(COUNTS, INTENSITIES, PROBABILITIES, 1e-10)
    assert bound.vacuum_key == 0
    assert bound.single_key == pytest.approx(5563775.18, abs=0.01)
    assert bound.single_test == pytest.approx(134560.52, abs=0.01)
    assert bound.single_test_errors == pytest.approx(11059.49, abs=0.01)
    assert bound.phase_error == pytest.approx(0.0893531, abs=1e-7)


def test_decoy_key_length_matches_the_fixed_vector() -> None:
    observed = sum(COUNTS.errors) / sum(COUNTS.test)
    assert observed == pytest.approx(0.0257201, abs=1e-7)
    leak = 1.16 * binary_entropy(observed) * 1e7
    length = decoy_secret_bits(COUNTS, INTENSITIES, PROBABILITIES, leak, 1e-10, 1e-15)
    assert length == 1146674
    assert length / PULSES == pytest.approx(2.92641e-5, rel=1e-5)


def test_vacuum_events_count_when_the_dimmest_pulses_show_them() -> None:
    dark = DecoyCounts(key=(8e6, 1e6, 1e5), test=(8e5, 1e5, 1e4), errors=(8e3, 1e3, 5e3))
    vacuum = decoy_bound(dark, INTENSITIES, PROBABILITIES, 1e-10).vacuum_key
    width = math.sqrt(9.1e6 / 2 * math.log(21 / 1e-10))
    tau0 = sum(p * math.exp(-mu) for mu, p in zip(INTENSITIES, PROBABILITIES, strict=True))
    low = math.exp(2e-4) / 0.15 * (1e5 - width)
    high = math.exp(0.12) / 0.30 * (1e6 + width)
    assert vacuum == pytest.approx(tau0 * (0.12 * low - 2e-4 * high) / (0.12 - 2e-4))


def test_a_leaked_bit_costs_a_bit() -> None:
    lengths = [
        decoy_secret_bits(COUNTS, INTENSITIES, PROBABILITIES, leak, 1e-10, 1e-15)
        for leak in (1000, 2000)
    ]
    assert lengths[0] - lengths[1] == 1000


def test_too_few_decoys_give_no_key() -> None:
    few = DecoyCounts(key=(900, 80, 1), test=(90, 8, 0), errors=(1, 0, 0))
    assert decoy_bound(few, INTENSITIES, PROBABILITIES, 1e-10).phase_error == 0.5
    assert decoy_secret_bits(few, INTENSITIES, PROBABILITIES, 0, 1e-10, 1e-15) < 0


def test_bounds_never_exceed_what_was_counted() -> None:
    # Brighter pulses that click less than dimmer ones: no honest channel does that.
    odd = DecoyCounts(key=(100, 1e6, 50), test=(10, 1e5, 5), errors=(1, 100, 1))
    bound = decoy_bound(odd, INTENSITIES, PROBABILITIES, 1e-10)
    assert bound.vacuum_key + bound.single_key == sum(odd.key)
    assert bound.single_test == sum(odd.test)


def test_gamma() -> None:
    assert random_sampling_gamma(1e-10, 0.02, 1e6, 1e5) == pytest.approx(0.004476470, rel=1e-6)
    smaller = random_sampling_gamma(1e-10 / 21, 0.02, 1e6, 1e5)
    assert smaller > random_sampling_gamma(1e-10, 0.02, 1e6, 1e5)


def test_single_photon_length_matches_the_fixed_vector() -> None:
    n, k = 800_000, 200_000
    assert sampling_deviation(n, k, 1e-10) == pytest.approx(0.0123521929611, rel=1e-9)
    leak = 1.1 * n * binary_entropy(0.05)
    assert single_photon_secret_bits(n, k, 0.05, leak, 1e-10, 1e-10) == 278500


@pytest.mark.parametrize(
    ("total", "rate", "expected"),
    [(10**4, 0.01, 2678), (10**5, 0.01, 51940), (10**4, 0.05, 338), (10**6, 0.05, 299669)],
)
def test_single_photon_length_at_the_best_sample(total: int, rate: float, expected: int) -> None:
    def length(k: int) -> int:
        leak = 1.1 * (total - k) * binary_entropy(rate)
        return single_photon_secret_bits(total - k, k, rate, leak, 1e-10, 1e-10)

    best = max(length(k) for k in range(total // 200, total // 2, total // 200))
    assert best == pytest.approx(expected, rel=5e-3)


def test_without_test_bits_there_is_no_key() -> None:
    assert single_photon_secret_bits(1000, 0, 0.0, 0, 1e-10, 1e-15) == 0
    assert single_photon_secret_bits(0, 1000, 0.0, 0, 1e-10, 1e-15) == 0


@pytest.mark.parametrize(
    ("rate", "entropy"),
    [(0.05, 0.286396957), (0.03, 0.194391858), (0.01, 0.080793136), (0.08, 0.402179190)],
)
def test_binary_entropy(rate: float, entropy: float) -> None:
    assert binary_entropy(rate) == pytest.approx(entropy, abs=1e-9)
    assert binary_entropy(1 - rate) == pytest.approx(entropy, abs=1e-9)


def test_binary_entropy_at_the_ends() -> None:
    assert binary_entropy(0) == binary_entropy(1) == 0


def test_a_sample_without_errors_does_not_prove_that_there_are_none() -> None:
    clean = DecoyCounts(key=(200_000, 500_000, 40), test=(60_000, 90_000, 40), errors=(0, 0, 0))
    bound = decoy_bound(clean, INTENSITIES, PROBABILITIES, 1e-10)
    errors = bound.phase_error * bound.single_key
    missed = (bound.single_key / (bound.single_key + bound.single_test)) ** errors
    assert missed == pytest.approx((1e-10 / 21) ** 2)
