"""The planner's settings are the best ones, and its figures are the engine's."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest

from qkd_hal.distillation.channel_model import Light, Link, expected_rates
from qkd_hal.distillation.estimation import Estimation
from qkd_hal.distillation.finite_key import binary_entropy
from qkd_hal.distillation.parameters import DistillationParameters, Source
from qkd_hal.distillation.planner import Goal, Plan, expected_secret_bits, plan
from qkd_hal.distillation.verification import excess_leak
from qkd_hal.errors import ConfigurationError, NoSecretKeyError

LINK = Link(10.0, 0.5, 1e-7, 0.0, 0.01, 1e8)
SOURCES: tuple[Source, ...] = ("wcp", "wcp-1-decoy", "single-photon")
ONE_GOAL = Goal(eps_sec=1e-9, eps_cor=1e-12)


def light_of(parameters: DistillationParameters) -> Light:
    if parameters.source == "single-photon":
        return Light()
    return Light(parameters.intensities, parameters.intensity_probabilities)


def net_rate(link: Link, parameters: DistillationParameters) -> float:
    """Net bits per pulse, worked out apart from the planner."""
    light = light_of(parameters)
    rates = expected_rates(link, light, parameters.key_basis_probability)
    size = parameters.block_size
    leak = 1.06 * size * binary_entropy(rates.qber) + excess_leak(parameters.eps_cor)
    eps = parameters.eps_sec, parameters.eps_cor
    bits = expected_secret_bits(rates, light, size, leak, *eps)
    return (bits - 8 * parameters.pad_refill_bytes) * sum(rates.key) / size


@pytest.fixture(scope="module", params=SOURCES)
def planned(request: pytest.FixtureRequest) -> Plan:
    return plan(LINK, source=request.param, goal=ONE_GOAL)


def test_no_neighbour_is_better(planned: Plan) -> None:
    parameters = planned.parameters
    best = net_rate(LINK, parameters)
    assert planned.net_bits / planned.pulses == pytest.approx(best, rel=1e-4)
    basis = parameters.key_basis_probability
    others = [replace(parameters, key_basis_probability=basis + d) for d in (-0.03, 0.03)]
    if parameters.source != "single-photon":
        first, second, *rest = parameters.intensities
        p, q, *r = parameters.intensity_probabilities
        for factor in (0.85, 1.15):
            moved = (factor * p, q + (1 - factor) * p, *r)
            others += [
                replace(parameters, intensities=(factor * first, second, *rest)),
                replace(parameters, intensities=(first, factor * second, *rest)),
                replace(parameters, intensity_probabilities=moved),
            ]
    for other in others:
        assert net_rate(LINK, other) < best * 1.0005


def test_the_figures_are_those_of_the_estimation(planned: Plan) -> None:
    parameters = planned.parameters
    rates = expected_rates(LINK, light_of(parameters), parameters.key_basis_probability)
    kinds = rates.key, rates.test, rates.test_errors, rates.key_errors
    counts = Estimation(*(tuple(round(planned.pulses * x) for x in kind) for kind in kinds))
    assert counts.key_bits == pytest.approx(parameters.block_size, abs=2)
    assert counts.qber == pytest.approx(planned.qber, rel=1e-2)
    leak = 1.06 * parameters.block_size * binary_entropy(planned.qber)
    bits = counts.secret_bits(parameters, round(leak) + excess_leak(parameters.eps_cor))
    assert planned.secret_bits == pytest.approx(bits, rel=2e-3)
    assert planned.net_bits == planned.secret_bits - 8 * parameters.pad_refill_bytes
    assert planned.seconds == pytest.approx(planned.pulses / 1e8)
    assert planned.net_bits_per_second == pytest.approx(planned.net_bits / planned.seconds)
    assert (parameters.eps_sec, parameters.eps_cor) == (1e-9, 1e-12)
    # An int among them would change the digest that both ends compare.
    assert all(type(p) is float for p in parameters.intensity_probabilities)
    assert counts.qber < parameters.qber_threshold


def test_a_larger_block_gains_little(planned: Plan) -> None:
    parameters = planned.parameters
    larger = plan(LINK, source=parameters.source, goal=ONE_GOAL, block_size=1 << 22)
    smaller = plan(
        LINK, source=parameters.source, goal=ONE_GOAL, block_size=parameters.block_size // 2
    )
    assert planned.net_bits_per_second >= 0.9 * larger.net_bits_per_second
    assert smaller.net_bits_per_second < 0.9 * larger.net_bits_per_second


def test_a_block_fits_into_the_time_it_is_given() -> None:
    free, hurried = (
        plan(LINK, source="single-photon", goal=Goal(max_seconds=seconds)) for seconds in (60, 0.1)
    )
    assert hurried.seconds <= 0.1 < free.seconds
    assert hurried.net_bits_per_second < free.net_bits_per_second


@cache
def good_rate() -> float:
    return plan(LINK, source="wcp-1-decoy", block_size=1 << 18).net_bits_per_second


def test_the_same_link_has_always_the_same_plan() -> None:
    assert plan(LINK, block_size=1 << 16) == plan(LINK, block_size=1 << 16)


@pytest.mark.parametrize(
    "worse",
    [{"attenuation_db": 15.0}, {"misalignment": 0.03}, {"efficiency": 0.2}, {"dead_time_s": 1e-6}],
)
def test_a_worse_link_has_a_lower_rate(worse: dict[str, float]) -> None:
    bad = plan(replace(LINK, **worse), source="wcp-1-decoy", block_size=1 << 18)  # type: ignore[arg-type]
    assert bad.net_bits_per_second < good_rate()


def test_small_blocks_of_single_photons_give_a_key() -> None:
    small = plan(LINK, source="single-photon", goal=Goal(pad_refill_bytes=64), block_size=4096)
    assert small.net_bits > 500


@pytest.mark.parametrize("source", SOURCES)
def test_a_hopeless_link_is_an_error(source: Source) -> None:
    with pytest.raises(NoSecretKeyError, match="60 s"):
        plan(Link(60.0, 0.1, 1e-4), source=source)


def test_an_impossible_block_is_an_error() -> None:
    with pytest.raises(ConfigurationError):
        plan(LINK, source="single-photon", block_size=900)
    with pytest.raises(NoSecretKeyError):
        plan(LINK, block_size=1 << 23)
