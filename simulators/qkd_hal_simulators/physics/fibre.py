"""Optical fibre: every photon survives on its own, with one probability."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qkd_hal_simulators.physics.frame import PhotonFrame
from qkd_hal_simulators.physics.random import bernoulli

__all__ = ["Fibre", "thin"]


@dataclass(frozen=True, slots=True)
class Fibre:
    """*length_km* of fibre with *attenuation_db_per_km*, and connectors of *insertion_db*."""

    length_km: float
    attenuation_db_per_km: float = 0.2
    insertion_db: float = 0.0

    @property
    def transmittance(self) -> float:
        """Probability that a photon arrives."""
        loss_db = self.length_km * self.attenuation_db_per_km + self.insertion_db
        return float(10 ** (-loss_db / 10))

    def transmit(self, frame: PhotonFrame, rng: np.random.Generator) -> PhotonFrame:
        """Return what of *frame* arrives at the far end."""
        photons = thin(frame.photons, self.transmittance, rng)
        arrived = np.flatnonzero(photons)
        states = photons[arrived] << np.uint8(2) | frame.states[arrived] & np.uint8(3)
        return PhotonFrame(frame.first_pulse, frame.pulse_count, frame.lit[arrived], states)


def thin(
    photons: NDArray[np.uint8], probability: float, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Return how many of each pulse's *photons* (all at least 1) survive a loss."""
    left = bernoulli(rng, probability, photons.size).astype(np.uint8)
    several = np.flatnonzero(photons > 1)
    left[several] = rng.binomial(photons[several], probability)
    return left
