"""Decoy bounds hold against channels that treat every photon number as they like."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from qkd_hal.distillation.channel_model import Light
from qkd_hal.distillation.finite_key_decoy import DecoyCounts, decoy_bound

if TYPE_CHECKING:
    from numpy.typing import NDArray

LIGHTS = [Light((0.5, 0.2, 2e-4), (0.3, 0.5, 0.2)), Light((0.5, 0.16), (0.63, 0.37))]
PHOTONS = np.arange(12)
FACTORIALS = np.array([math.factorial(n) for n in PHOTONS], float)
BASES = (0.64, 0.04)  # both ends pick X, both pick Z
RUNS, PULSES, EPS = 150, 10**10, 0.2

# The chance that a pulse of n photons clicks, and that its click is wrong.
CHANNELS = {
    "fibre": (1 - 0.95**PHOTONS + 1e-5, 0.01 + 0.49 * (PHOTONS == 0)),
    "photon-number splitting": (np.where(PHOTONS > 1, 0.5, 1e-4), 0.5 * (PHOTONS == 0)),
    "only vacuum": (np.where(PHOTONS == 0, 0.05, 0.001), np.full(12, 0.5)),
    "only single photons": (np.where(PHOTONS == 1, 0.1, 1e-6), np.full(12, 0.03)),
    "wrong single photons": (np.full(12, 0.03), np.where(PHOTONS == 1, 0.11, 0.5)),
}


def block(
    light: Light, channel: str, random: np.random.Generator
) -> tuple[DecoyCounts, NDArray[np.float64]]:
    """Return the counts of a block, and per basis and photon number the clicks and errors."""
    yields, wrong = CHANNELS[channel]
    mu = np.array(light.intensities)[:, None]
    emitted = np.array(light.probabilities)[:, None] * np.exp(-mu) * mu**PHOTONS / FACTORIALS
    clicks = np.array([random.poisson(PULSES * share * emitted * yields) for share in BASES])
    errors = random.binomial(clicks, wrong)
    kinds = clicks[0], clicks[1], errors[1], errors[0]
    counts = DecoyCounts(*(kind.sum(axis=1).tolist() for kind in kinds))
    return counts, np.array([clicks.sum(axis=1), errors.sum(axis=1)], float)


@pytest.mark.parametrize("light", LIGHTS, ids=["two decoys", "one decoy"])
@pytest.mark.parametrize("channel", CHANNELS)
def test_bounds_are_wrong_no_oftener_than_they_may(light: Light, channel: str) -> None:
    random = np.random.default_rng(5)
    wrong = np.zeros(5)
    for _ in range(RUNS):
        counts, truth = block(light, channel, random)
        bound = decoy_bound(counts, light.intensities, light.probabilities, EPS)
        (vacuum, single), (_, test) = truth[0, 0, :2], truth[0, 1, :2]
        wrong += [
            bound.vacuum_key > vacuum,
            bound.single_key > single,
            bound.single_test > test,
            bound.single_test_errors < truth[1, 1, 1],
            bound.phase_error < min(0.5, truth[1, 0, 1] / max(1, single)),
        ]
    # At 20 % for all of them together, 45 of 150 would be more than three deviations off.
    assert wrong.max() < 45


@pytest.mark.parametrize("light", LIGHTS, ids=["two decoys", "one decoy"])
def test_bounds_come_close_on_an_honest_fibre(light: Light) -> None:
    counts, truth = block(light, "fibre", np.random.default_rng(6))
    bound = decoy_bound(counts, light.intensities, light.probabilities, EPS)
    assert 0.9 < bound.single_key / truth[0, 0, 1] <= 1
    assert 0.9 < bound.single_test / truth[0, 1, 1] <= 1
    assert 1 <= bound.single_test_errors / truth[1, 1, 1] < 2
    assert 1 <= bound.phase_error / 0.01 < 2.5
