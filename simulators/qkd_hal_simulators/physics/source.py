"""Light source: phase-randomised weak coherent pulses, or ideal single photons.

Each pulse has a photon number, an intensity, a basis and a bit. All four are drawn at once
as one *cell*, ``(photons * intensities + intensity) * 4 + basis * 2 + bit``, so that a frame
is one byte per pulse: what the emission log keeps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qkd_hal.errors import UsageError
from qkd_hal_simulators.physics.frame import MAX_PHOTONS, PhotonFrame
from qkd_hal_simulators.physics.random import DiscreteSampler

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["MAX_INTENSITIES", "LightSource", "SinglePhotons", "WeakCoherentPulses"]

MAX_INTENSITIES = 3  # what a cell byte holds with 16 photon numbers


@dataclass(frozen=True, slots=True)
class WeakCoherentPulses:
    """Photon numbers of laser pulses; the *intensities* are their means, one to three.

    *noise*: standard deviation of a pulse's true intensity, as a share of the nominal one.
    Each pulse's is drawn anew from a gamma distribution, which keeps it positive.
    """

    intensities: tuple[float, ...]
    probabilities: tuple[float, ...]
    noise: float = 0.0

    def photon_numbers(self) -> NDArray[np.float64]:
        """Return P(photons, intensity); the tail above 15 photons counts as 15."""
        table = [
            [p * chance for chance in _photon_chances(mu, self.noise**2)]
            for mu, p in zip(self.intensities, self.probabilities, strict=True)
        ]
        rows = [[*row, p - sum(row)] for row, p in zip(table, self.probabilities, strict=True)]
        return np.array(rows, np.float64).T.clip(0.0)


@dataclass(frozen=True, slots=True)
class SinglePhotons:
    """Exactly one photon in every pulse."""

    def photon_numbers(self) -> NDArray[np.float64]:
        """Return P(photons, intensity) of the one intensity."""
        return np.array([[0.0], [1.0]])


class LightSource:
    """Emits frames of pulses.

    *key_basis_probability*: how often a pulse is prepared in X, the key basis.
    """

    def __init__(
        self,
        light: WeakCoherentPulses | SinglePhotons,
        *,
        key_basis_probability: float,
        rng: np.random.Generator,
    ) -> None:
        numbers = light.photon_numbers()
        self.intensities = numbers.shape[1]
        if self.intensities > MAX_INTENSITIES:
            raise UsageError(f"a light source has at most {MAX_INTENSITIES} intensities")
        self._sampler = DiscreteSampler(_cell_probabilities(numbers, key_basis_probability))
        self._rng = rng
        cells = np.arange(256)
        photons = np.minimum(cells // (4 * self.intensities), MAX_PHOTONS)
        self._states = (photons << 2 | cells & 3).astype(np.uint8)

    def emit(self, first_pulse: int, count: int) -> tuple[NDArray[np.uint8], PhotonFrame]:
        """Return the cells of *count* pulses, the emitter's secret, and the light itself."""
        cells = self._sampler.draw(self._rng, count)
        lit = np.flatnonzero(cells >= 4 * self.intensities)
        return cells, PhotonFrame(first_pulse, count, lit, self._states[cells[lit]])


def _photon_chances(mean: float, variance: float) -> list[float]:
    """Return P(0) ... P(14) of a Poisson variable whose mean is gamma-distributed.

    That is a negative binomial; the recursion holds at *variance* 0, Poisson's case, too.
    """
    spread = math.log1p(mean * variance) / variance if variance else mean
    chances = [math.exp(-spread)]
    for n in range(MAX_PHOTONS - 1):
        ratio = mean * (1 + n * variance) / ((1 + mean * variance) * (n + 1))
        chances.append(chances[-1] * ratio)
    return chances


def _cell_probabilities(numbers: NDArray[np.float64], key_basis: float) -> Sequence[float]:
    preparation = np.array([key_basis, key_basis, 1 - key_basis, 1 - key_basis]) / 2
    cells: list[float] = np.outer(numbers.ravel(), preparation).ravel().tolist()
    return cells
