"""Sampling bounds against vectors, and against the distribution itself."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkd_hal.distillation.finite_key_sampling import (
    exact_sampling_deviation,
    hypergeometric_log_tail,
    most_key_errors,
    random_sampling_gamma,
    serfling_deviation,
)


@pytest.mark.parametrize(
    ("total", "serfling", "exact"),
    [
        (5000, 0.174773, 0.105750),
        (10_000, 0.123552, 0.068125),
        (20_000, 0.087354, 0.044875),
        (50_000, 0.055243, 0.026500),
    ],
)
def test_deviations_match_the_table(total: int, serfling: float, exact: float) -> None:
    n, k, eps = total * 4 // 5, total // 5, 2.5e-11
    assert serfling_deviation(n, k, eps) == pytest.approx(serfling, abs=1e-6)
    assert exact_sampling_deviation(n, k, k // 20, eps) == pytest.approx(exact, abs=1e-6)


def test_gamma() -> None:
    assert random_sampling_gamma(1e-10, 0.02, 1e6, 1e5) == pytest.approx(0.004476470, rel=1e-6)


def test_gamma_vanishes_where_no_error_or_nothing_else_was_seen() -> None:
    assert random_sampling_gamma(1e-10, 0, 1e6, 1e5) == 0
    assert random_sampling_gamma(1e-10, 1, 1e6, 1e5) == 0


def tail(drawn: int, errors: int, n: int, k: int) -> Fraction:
    """P(at most *drawn* of *errors* fall into a test of *k* among n + k)."""
    ways = sum(math.comb(k, j) * math.comb(n, errors - j) for j in range(drawn + 1))
    return Fraction(ways, math.comb(n + k, errors))


small = st.integers(min_value=1, max_value=60)


@given(small, small, st.data())
def test_the_tail_is_that_of_the_distribution(n: int, k: int, data: st.DataObject) -> None:
    errors = data.draw(st.integers(min_value=0, max_value=n + k))
    drawn = data.draw(st.integers(min_value=0, max_value=min(errors, k)))
    probability = tail(drawn, errors, n, k)
    found = hypergeometric_log_tail(drawn, errors, n, k)
    if not probability:
        assert found == -math.inf
        return
    truth = math.log(probability)
    assert found >= truth - 1e-12
    assert found == 0 or found <= truth + 1e-9
    assert found < 0 or probability > 0.2
    assert hypergeometric_log_tail(drawn, errors, n, k, terms=0) >= truth - 1e-12


@given(small, small, st.data(), st.floats(min_value=1e-6, max_value=0.4))
def test_no_likelier_key_is_ruled_out(n: int, k: int, data: st.DataObject, eps: float) -> None:
    seen = data.draw(st.integers(min_value=0, max_value=k))
    most = most_key_errors(n, k, seen, eps)
    assert 1 <= most <= n
    for errors in range(most, n + 1):
        assert most == n or tail(seen, seen + errors, n, k) <= eps**2
    if most > 1:
        assert tail(seen, seen + most - 1, n, k) > eps**2 * (1 - 1e-9)


@given(st.integers(min_value=2, max_value=4000), st.integers(min_value=2, max_value=10**7))
def test_a_test_without_errors_leaves_room_for_some(n: int, k: int) -> None:
    most = most_key_errors(n, k, 0, 1e-11)
    # All of C errors miss the test with the probability n/(n+k) * (n-1)/(n+k-1) * ...
    if most < n:
        missed = sum(math.log((n - i) / (n + k - i)) for i in range(most))
        assert missed <= 2 * math.log(1e-11) + 1e-6
