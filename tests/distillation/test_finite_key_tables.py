"""Optimised rates against tables and text anchors of the papers' figures."""

from __future__ import annotations

from functools import cache

import pytest

from qkd_hal.distillation.channel_model import Light, Link, expected_rates
from qkd_hal.distillation.finite_key import binary_entropy
from qkd_hal.distillation.finite_key_decoy import exact_phase_error, printed_phase_error
from qkd_hal.distillation.planner import best_settings, expected_secret_bits

KM = (0, 20, 50, 100, 135, 150, 180)
LIM = {
    1e4: (2.084e-4, 7.980e-5, 1.883e-5, 9.913e-7, 0, 0, 0),
    1e5: (1.308e-3, 5.054e-4, 1.236e-4, 1.040e-5, 8.780e-7, 1.176e-7, 0),
    1e7: (5.355e-3, 2.081e-3, 5.139e-4, 4.766e-5, 7.351e-6, 2.635e-6, 0),
    1e9: (9.203e-3, 3.590e-3, 8.897e-4, 8.537e-5, 1.448e-5, 5.861e-6, 9.346e-8),
}
DB = (0, 10, 20, 26, 40, 50, 60)
RUSCA = {
    1e5: (2.992e6, 1.002e6, 1.501e5, 3.954e4, 1.571e3, 132.6, 0.73),
    1e7: (5.105e6, 2.286e6, 4.457e5, 1.239e5, 5.073e3, 468.5, 17.0),
    1e9: (5.734e6, 2.850e6, 6.383e5, 1.846e5, 7.705e3, 728.0, 35.9),
}


@cache
def lim(km: float, key_bits: float) -> float:
    """Secret bits per pulse at the best settings, eps_sec being 1e-15 of each bit."""
    link = Link(0.2 * km, 0.1, 6e-7, 0.04, 5e-3)

    def rate(light: Light, key_basis: float) -> float:
        rates = expected_rates(link, light, key_basis)
        leak = 1.16 * binary_entropy(rates.qber) * key_bits
        bits = round(0.3 * key_bits)
        for _ in range(6):
            eps = 1e-15 * bits, 1e-15
            bits = expected_secret_bits(rates, light, key_bits, leak, *eps, printed_phase_error)
            if bits <= 0:
                return bits / key_bits - 1
        return bits * sum(rates.key) / key_bits

    return max(0.0, rate(*best_settings("wcp", rate)))


def rusca(db: float, key_bits: float) -> tuple[float, Light, float]:
    """Secret bits per second at 1 GHz at the best settings, and these."""
    link = Link(db, 0.5, 0.5e-8, 0.0, 0.01, 1e9, 100e-9, matching_clicks_only=True)

    def rate(light: Light, key_basis: float) -> float:
        rates = expected_rates(link, light, key_basis)
        leak = 1.16 * binary_entropy(rates.qber) * key_bits
        eps = 1e-9, 1e-15
        bits = expected_secret_bits(rates, light, key_bits, leak, *eps, printed_phase_error)
        return bits * sum(rates.key) / key_bits * 1e9 if bits > 0 else bits / key_bits - 1

    settings = best_settings("wcp-1-decoy", rate)
    return rate(*settings), *settings


@pytest.mark.parametrize(("km", "key_bits"), [(0, 1e4), (100, 1e5), (135, 1e7), (180, 1e9)])
def test_some_rates_of_two_decoys(km: int, key_bits: float) -> None:
    assert lim(km, key_bits) == pytest.approx(LIM[key_bits][KM.index(km)], rel=5e-3)


@pytest.mark.slow
@pytest.mark.parametrize("km", KM)
@pytest.mark.parametrize("key_bits", LIM)
def test_all_rates_of_two_decoys(km: int, key_bits: float) -> None:
    assert lim(km, key_bits) == pytest.approx(LIM[key_bits][KM.index(km)], rel=5e-3)


def test_the_anchors_in_the_text_of_lim_2014() -> None:
    assert 1.65 < lim(100, 1e9) / lim(100, 1e7) < 1.90
    assert 4.6e-4 < lim(50, 1e7) < 5.7e-4
    assert lim(135, 1e5) > 0
    assert lim(150, 1e6) > 0
    assert lim(190, 1e9) == 0
    assert lim(120, 1e4) == pytest.approx(7.7e-8, rel=0.02)
    assert lim(135, 1e4) == 0  # "up to 135 km"; we end at 130


def test_the_settings_of_one_decoy_at_20_db() -> None:
    rate, light, key_basis = rusca(20, 1e7)
    assert rate == pytest.approx(4.457e5, rel=5e-3)
    assert light.intensities == pytest.approx((0.465, 0.148), abs=0.01)
    assert light.probabilities == pytest.approx((0.683, 0.317), abs=0.01)
    assert key_basis == pytest.approx(0.886, abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("db", DB)
@pytest.mark.parametrize("key_bits", RUSCA)
def test_all_rates_of_one_decoy(db: int, key_bits: float) -> None:
    assert rusca(db, key_bits)[0] == pytest.approx(RUSCA[key_bits][DB.index(db)], rel=1e-2)


@pytest.mark.parametrize(("key_bits", "share"), [(1e6, 0.97), (1e7, 0.99)])
def test_the_exact_bound_costs_little(key_bits: float, share: float) -> None:
    link, light = Link(10.0, 0.1, 6e-7, 0.04, 5e-3), Light((0.5, 0.2, 2e-4), (0.25, 0.55, 0.2))
    rates = expected_rates(link, light, 0.7)
    leak = 1.16 * binary_entropy(rates.qber) * key_bits
    exact, printed = (
        expected_secret_bits(rates, light, key_bits, leak, 1e-10, 1e-15, bound)
        for bound in (exact_phase_error, printed_phase_error)
    )
    assert share * printed < exact < printed
