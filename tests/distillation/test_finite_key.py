"""Ideal single photons: key lengths against vectors computed apart from this code."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkd_hal.distillation.finite_key import (
    binary_entropy,
    sampling_deviation,
    single_photon_secret_bits,
    tomamichel_2012_secret_bits,
    tomamichel_leverrier_secret_bits,
)
from qkd_hal.distillation.finite_key_asymptotic import (
    bennett_1992_bits,
    luetkenhaus_bits,
    shor_preskill_bits,
)

EPS = 1e-10
H5 = 0.286396957


@pytest.mark.parametrize(
    ("rate", "entropy"),
    [(0.05, H5), (0.03, 0.194391858), (0.01, 0.080793136), (0.08, 0.402179190)],
)
def test_binary_entropy(rate: float, entropy: float) -> None:
    assert binary_entropy(rate) == pytest.approx(entropy, abs=1e-9)
    assert binary_entropy(1 - rate) == pytest.approx(entropy, abs=1e-9)


def test_binary_entropy_at_the_ends() -> None:
    assert binary_entropy(0) == binary_entropy(1) == 0


def test_length_of_tomamichel_2012_matches_the_fixed_vector() -> None:
    n, k = 800_000, 200_000
    assert sampling_deviation(n, k, EPS) == pytest.approx(0.0123521929611, rel=1e-9)
    leak = 1.1 * n * binary_entropy(0.05)
    assert tomamichel_2012_secret_bits(n, k, 0.05, leak, EPS, EPS) == 278500


@pytest.mark.parametrize(
    ("rate", "total", "expected"),
    [
        (0.01, 10**4, 2678),
        (0.01, 2 * 10**4, 7110),
        (0.01, 5 * 10**4, 22773),
        (0.01, 10**5, 51940),
        (0.01, 10**6, 669907),
        (0.01, 10**7, 7512095),
        (0.05, 10**4, 338),
        (0.05, 2 * 10**4, 1830),
        (0.05, 5 * 10**4, 7913),
        (0.05, 10**5, 20093),
        (0.05, 10**6, 299669),
        (0.05, 10**7, 3509822),
    ],
)
def test_length_of_tomamichel_2012_at_the_best_sample(
    rate: float, total: int, expected: int
) -> None:
    def length(k: int) -> int:
        leak = 1.1 * (total - k) * binary_entropy(rate)
        return tomamichel_2012_secret_bits(total - k, k, rate, leak, EPS, EPS)

    best = max(length(k) for k in range(total // 1000, total // 2, total // 1000))
    assert best == pytest.approx(expected, rel=2e-3, abs=1)


QSSL = {  # N: leak at f = 1.06 and 1.18, A at both, B at both, C at both
    5000: (1214, 1351, 1408, 1271, 1550, 1412, 1803, 1666),
    10_000: (2428, 2703, 3048, 2773, 3332, 3057, 3947, 3672),
    20_000: (4857, 5407, 6328, 5778, 6895, 6345, 8278, 7729),
    50_000: (12143, 13517, 16169, 14794, 17586, 16212, 21384, 20009),
    100_000: (None, None, 32570, None, 35405, None, 43341, None),
    1_000_000: (None, None, 327786, None, 356134, None, 441153, None),
}


@pytest.mark.parametrize("total", QSSL)
def test_asymptotic_lengths_of_the_qssl_table(total: int) -> None:
    n, row = total * 4 // 5, QSSL[total]
    bounds = (shor_preskill_bits, luetkenhaus_bits, bennett_1992_bits)
    for column, f in enumerate((1.06, 1.18)):
        leak = f * binary_entropy(0.05) * n
        found = [round(bits(n, 0.05, leak, 232)) for bits in bounds]
        for value, expected in zip([math.floor(leak), *found], row[column::2], strict=True):
            assert expected in (value, None)


@pytest.mark.parametrize(
    ("total", "serfling", "exact"),
    [
        (5000, -390.13, 192),
        (10_000, 144.56, 1284),
        (20_000, 1805.78, 3815),
        (50_000, 8340.13, 12189),
        (100_000, 20946, 26952),
        (1_000_000, 287665, 310136),
    ],
)
def test_finite_lengths_of_the_qssl_table(total: int, serfling: float, exact: int) -> None:
    n, k = total * 4 // 5, total // 5
    leak = 1.06 * binary_entropy(0.05) * n
    assert abs(tomamichel_2012_secret_bits(n, k, 0.05, leak, EPS, EPS) - serfling) <= 1
    thirds = EPS / 3, EPS / 6, EPS / 6  # 2 eps_pe + eps_pa + eps_cor = 1e-10
    found = tomamichel_leverrier_secret_bits(n, k, 0.05, leak, *thirds)
    assert abs(found - exact) <= 4  # the table's nu is rounded: one error is up to 4 bits


@pytest.mark.parametrize(
    ("rate", "smallest"), [(0.01, 1154), (0.02, 1531), (0.03, 1980), (0.05, 3942), (0.07, 10003)]
)
def test_the_smallest_block_with_a_key(rate: float, smallest: int) -> None:
    def length(total: int) -> int:
        n, k = total * 4 // 5, total // 5
        errors = math.floor(rate * k) / k
        leak = 1.06 * binary_entropy(rate) * n
        return tomamichel_leverrier_secret_bits(n, k, errors, leak, EPS / 3, EPS / 6, EPS / 6)

    assert length(round(1.03 * smallest)) > 0
    assert length(round(0.93 * smallest)) < 0


def test_the_split_of_eps_sec_is_that_of_tomamichel_2012() -> None:
    counts = 8000, 2000, 0.05, 2428.0
    split = tomamichel_leverrier_secret_bits(*counts, EPS / 4, EPS / 2, EPS)
    assert single_photon_secret_bits(*counts, EPS, EPS) == split


def test_without_test_bits_or_key_bits_there_is_no_key() -> None:
    for length in (single_photon_secret_bits, tomamichel_2012_secret_bits):
        assert length(1000, 0, 0.0, 0, 1e-10, 1e-15) == 0
        assert length(0, 1000, 0.0, 0, 1e-10, 1e-15) == 0


def test_a_rate_counted_from_errors_is_not_rounded_to_fewer() -> None:
    # 29 / 100 * 100 is 28.999999999999996.
    exact = single_photon_secret_bits(10**6, 100, 29 / 100, 0, 0.1, 0.1)
    assert exact == single_photon_secret_bits(10**6, 100, 0.2900001, 0, 0.1, 0.1)
    assert exact < single_photon_secret_bits(10**6, 100, 0.28, 0, 0.1, 0.1)


sizes = st.integers(min_value=200, max_value=200_000)
exponents = st.floats(min_value=-14, max_value=-1)


@given(sizes, sizes, st.data())
def test_worse_never_gives_more(n: int, k: int, data: st.DataObject) -> None:
    errors = data.draw(st.integers(min_value=0, max_value=k // 4))
    more = data.draw(st.integers(min_value=errors, max_value=k))
    exponent, smaller = sorted((data.draw(exponents), data.draw(exponents)), reverse=True)
    leak = data.draw(st.floats(min_value=0, max_value=n))
    best = single_photon_secret_bits(n, k, errors / k, leak, 10**exponent, 1e-15)
    assert single_photon_secret_bits(n, k, more / k, leak, 10**exponent, 1e-15) <= best
    assert single_photon_secret_bits(n, k, errors / k, leak, 10**smaller, 1e-15) <= best
    assert single_photon_secret_bits(n, k, errors / k, leak, 10**exponent, 1e-16) <= best
    assert single_photon_secret_bits(n, k, errors / k, leak + 8, 10**exponent, 1e-15) <= best - 8
    double = single_photon_secret_bits(2 * n, 2 * k, errors / k, 2 * leak, 10**exponent, 1e-15)
    assert best <= max(0, double)
    assert best <= n - leak


@given(sizes, sizes, st.floats(min_value=0, max_value=0.5), exponents)
def test_exact_sampling_is_never_worse_than_serfling(
    n: int, k: int, rate: float, exponent: float
) -> None:
    errors = math.ceil(rate * k)
    found = single_photon_secret_bits(n, k, errors / k, 0, 10**exponent, 1e-15)
    # One error more among n changes n h by less than log2(n) bits.
    old = tomamichel_2012_secret_bits(n, k, errors / k, 0, 10**exponent, 1e-15)
    assert found >= old - math.log2(n) - 2
