"""Receiver with two threshold detectors behind an active basis choice.

Double clicks become a random bit, as the decoy analysis of Lim 2014 requires. Afterpulses
and dead time are not modelled.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qkd_hal.sources import DetectionBatch
from qkd_hal_simulators.physics.fibre import thin
from qkd_hal_simulators.physics.frame import PhotonFrame
from qkd_hal_simulators.physics.random import bernoulli, distinct_positions

__all__ = ["Detector"]

_ZERO, _ONE, _BOTH = 1, 2, 3  # which of the two detectors clicked


@dataclass(frozen=True, slots=True)
class Detector:
    """A receiver's figures.

    *efficiency*: probability that an arriving photon clicks; *dark_count_probability*: per
    pulse and detector; *misalignment*: probability that a photon measured in its own basis
    goes to the wrong detector; *key_basis_probability*: how often X is measured.
    """

    efficiency: float
    dark_count_probability: float
    misalignment: float
    key_basis_probability: float

    def detect(self, frame: PhotonFrame, rng: np.random.Generator) -> DetectionBatch:
        """Measure one frame."""
        lit, bases, clicks = self._photon_clicks(frame, rng)
        lit, bases, clicks = self._with_dark_counts(frame.pulse_count, lit, bases, clicks, rng)
        bits = (clicks == _ONE).astype(np.uint8)
        double = np.flatnonzero(clicks == _BOTH)
        bits[double] = rng.integers(0, 2, double.size)
        end = frame.first_pulse + frame.pulse_count
        return DetectionBatch(lit + frame.first_pulse, bases, bits, frame.first_pulse, end)

    def _photon_clicks(
        self, frame: PhotonFrame, rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.uint8], NDArray[np.uint8]]:
        photons = thin(frame.photons, self.efficiency, rng)
        seen = np.flatnonzero(photons)
        photons, states = photons[seen], frame.states[seen]
        bases = self._bases(seen.size, rng)
        chance = self._chance_of_one(states, bases)
        ones = (rng.random(seen.size) < chance).astype(np.uint8)
        several = np.flatnonzero(photons > 1)
        ones[several] = rng.binomial(photons[several], chance[several])
        clicks = (ones < photons) * np.uint8(_ZERO) | (ones > 0) * np.uint8(_ONE)
        return frame.lit[seen], bases, clicks

    def _bases(self, count: int, rng: np.random.Generator) -> NDArray[np.uint8]:
        return (~bernoulli(rng, self.key_basis_probability, count)).view(np.uint8)

    def _chance_of_one(
        self, states: NDArray[np.uint8], bases: NDArray[np.uint8]
    ) -> NDArray[np.float64]:
        table = np.full((2, 4), 0.5)  # measured basis, prepared basis and bit
        table[0, :2] = table[1, 2:] = self.misalignment, 1 - self.misalignment
        chances: NDArray[np.float64] = table[bases, states & 3]
        return chances

    def _with_dark_counts(
        self,
        pulse_count: int,
        lit: NDArray[np.int64],
        bases: NDArray[np.uint8],
        clicks: NDArray[np.uint8],
        rng: np.random.Generator,
    ) -> tuple[NDArray[np.int64], NDArray[np.uint8], NDArray[np.uint8]]:
        for detector in (_ZERO, _ONE):
            dark = distinct_positions(rng, self.dark_count_probability, pulse_count)
            known = np.isin(dark, lit, assume_unique=True)
            clicks[np.searchsorted(lit, dark[known])] |= detector
            fresh = dark[~known]
            where = np.searchsorted(lit, fresh)
            lit = np.insert(lit, where, fresh)
            bases = np.insert(bases, where, self._bases(fresh.size, rng))
            clicks = np.insert(clicks, where, detector)
        return lit, bases, clicks
