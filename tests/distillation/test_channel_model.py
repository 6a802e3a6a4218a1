"""Expected counts against vectors and closed forms."""

from __future__ import annotations

from dataclasses import replace

import pytest

from qkd_hal.distillation.channel_model import Light, Link, expected_rates
from qkd_hal.distillation.parameters import DistillationParameters
from qkd_hal.errors import ConfigurationError
from qkd_hal_simulators.channel import ChannelSettings
from qkd_hal_simulators.physics.counts import sifted_chances
from qkd_hal_simulators.physics.sampler import click_probability, click_table

LIGHT = Light((0.55, 0.12, 2e-4), (0.55, 0.30, 0.15))
LINK = Link(20.0, 0.1, 6e-7, 0.04, 5e-3)


def test_the_counts_of_lim_2014_at_100_km() -> None:
    rates = expected_rates(LINK, LIGHT, 0.85)
    pulses = 1e7 / sum(rates.key)
    assert pulses == pytest.approx(3.9183617443e10, rel=1e-9)
    expected = {
        rates.key: (8923350.1, 1070467.0, 6182.9),
        rates.test: (277889.8, 33336.3, 192.5),
        rates.test_errors: (6968.07, 958.46, 83.18),
    }
    for found, counts in expected.items():
        assert [pulses * rate for rate in found] == pytest.approx(counts, abs=0.06)
    assert rates.qber == pytest.approx(0.0257201, abs=1e-7)
    assert rates.qber == pytest.approx(sum(rates.test_errors) / sum(rates.test))


def test_ideal_photons() -> None:
    rates = expected_rates(Link(10.0, 0.5, 0.0, 0.0, 0.02), Light(), 0.7)
    assert rates.key == pytest.approx([0.49 * 0.05])
    assert rates.test == pytest.approx([0.09 * 0.05])
    assert rates.qber == pytest.approx(0.02)


def test_without_light_half_of_the_clicks_are_wrong() -> None:
    rates = expected_rates(Link(900.0, 0.5, 1e-6, 0.0), Light(), 0.7)
    assert sum(rates.key) == pytest.approx(0.49 * 2e-6)
    assert rates.qber == pytest.approx(0.5)


def test_dead_time_scales_all_counts_alike() -> None:
    free = expected_rates(LINK, LIGHT, 0.85)
    slow = replace(LINK, dead_time_s=1e-5, clock_hz=1e9)
    dead = expected_rates(slow, LIGHT, 0.85)
    clicks = sum(free.key) / 0.85**2
    live = 1 / (1 + 1e4 * clicks)
    assert sum(dead.key) == pytest.approx(live * sum(free.key))
    assert dead.test == pytest.approx([live * rate for rate in free.test])
    assert dead.qber == pytest.approx(free.qber)
    matching = expected_rates(replace(slow, matching_clicks_only=True), LIGHT, 0.85)
    live = 1 / (1 + 1e4 * clicks * (0.85**2 + 0.15**2))
    assert sum(matching.key) == pytest.approx(live * sum(free.key))


@pytest.mark.parametrize(
    "change",
    [
        {"attenuation_db": -1.0},
        {"attenuation_db": float("nan")},
        {"efficiency": 0.0},
        {"efficiency": 1.1},
        {"dark_count_probability": 0.5},
        {"afterpulse_probability": -0.1},
        {"misalignment": 0.5},
        {"clock_hz": 0.0},
        {"clock_hz": float("inf")},
        {"dead_time_s": -1e-9},
    ],
)
def test_impossible_links_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match="impossible"):
        replace(LINK, **change)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "parameters", [DistillationParameters(), DistillationParameters.short()], ids=["wcp", "photons"]
)
def test_the_simulated_link_is_the_planned_one(parameters: DistillationParameters) -> None:
    settings = ChannelSettings(40.0, efficiency=0.2, dark_count_probability=2e-6)
    detector = settings.detector(parameters)
    table = click_table(settings.light(parameters), settings.fibre, detector)
    simulated = sifted_chances(table, settings.memory) * click_probability(table)
    pulses = parameters.source == "wcp"
    light = Light(parameters.intensities, parameters.intensity_probabilities) if pulses else Light()
    rates = expected_rates(Link(8.0, 0.2, 2e-6), light, parameters.key_basis_probability)
    for basis, (clicks, errors) in enumerate(
        [(rates.key, rates.key_errors), (rates.test, rates.test_errors)]
    ):
        assert simulated[:, basis].sum(axis=-1) == pytest.approx(clicks, rel=1e-4)
        # Double clicks are half wrong in the simulator, and not in the papers' model.
        assert simulated[:, basis, 1] == pytest.approx(errors, rel=0.02)
