"""Receiver with two threshold detectors behind an active basis choice.

Photons split between the detectors by state, basis and misalignment; stray light and dark
counts fire either. What clicks do to later pulses is :mod:`.memory`; double clicks become
random bits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from qkd_hal.sources import DetectionBatch
from qkd_hal_simulators.physics.clicks import ONE, ZERO, Clicks
from qkd_hal_simulators.physics.fibre import thin
from qkd_hal_simulators.physics.frame import PhotonFrame
from qkd_hal_simulators.physics.memory import Memory, Recovery
from qkd_hal_simulators.physics.random import bernoulli, distinct_positions

__all__ = ["Detector"]


@dataclass(frozen=True, slots=True)
class Detector:
    """A receiver's figures.

    *efficiency*: probability that an arriving photon clicks, the mean of both detectors;
    *efficiency_mismatch*: by what share of it the detector of bit 0 is the better one.
    *dark_count_probability*: per pulse and detector; *background_photons*: stray photons per
    pulse at the receiver's entrance, in no polarisation. *misalignment*: probability that a
    photon measured in its own basis goes to the wrong detector; *key_basis_probability*: how
    often X is measured.
    """

    efficiency: float
    dark_count_probability: float
    misalignment: float
    key_basis_probability: float
    efficiency_mismatch: float = 0.0
    background_photons: float = 0.0
    memory: Memory = field(default_factory=Memory)

    @property
    def efficiencies(self) -> tuple[float, float]:
        """Of the detector of bit 0 and of that of bit 1."""
        half = self.efficiency_mismatch / 2
        return self.efficiency * (1 + half), self.efficiency * (1 - half)

    @property
    def noise(self) -> tuple[float, float]:
        """Probability per pulse that a detector clicks without light of the emitter's."""
        zero, one = (
            1 - (1 - self.dark_count_probability) * math.exp(-self.background_photons * share / 2)
            for share in self.efficiencies
        )
        return zero, one

    def chance_of_one(self) -> NDArray[np.float64]:
        """Return the probability that a photon takes detector 1, by basis and state."""
        table = np.full((2, 4), 0.5)  # measured basis; prepared basis << 1 | bit
        table[0, :2] = table[1, 2:] = self.misalignment, 1 - self.misalignment
        return table

    def detect(
        self, frame: PhotonFrame, rng: np.random.Generator, recovery: Recovery | None = None
    ) -> DetectionBatch:
        """Measure one frame, with rested detectors or those that *recovery* left."""
        span = frame.first_pulse, frame.first_pulse + frame.pulse_count
        clicks = self._with_noise(frame, self._photon_clicks(frame, rng), rng)
        recovery = recovery or Recovery(self.memory)
        seen = recovery.apply(clicks, span, lambda count: self._bases(count, rng), rng)
        return seen.detections(span, rng)

    def _photon_clicks(self, frame: PhotonFrame, rng: np.random.Generator) -> Clicks:
        best = max(self.efficiencies)
        photons = thin(frame.photons, best, rng)
        seen = np.flatnonzero(photons)
        photons, states = photons[seen], frame.states[seen] & np.uint8(3)
        bases = self._bases(seen.size, rng)
        chance = self.chance_of_one()[bases, states]
        ones = (rng.random(seen.size) < chance).astype(np.uint8)
        several = np.flatnonzero(photons > 1)
        ones[several] = rng.binomial(photons[several], chance[several])
        counts = [photons - ones, ones]
        if self.efficiency_mismatch:
            worse = int(np.argmin(self.efficiencies))
            counts[worse] = rng.binomial(counts[worse], min(self.efficiencies) / best)
        patterns = (counts[0] > 0) * np.uint8(ZERO) | (counts[1] > 0) * np.uint8(ONE)
        return _only_clicks(frame.lit[seen] + frame.first_pulse, bases, patterns)

    def _bases(self, count: int, rng: np.random.Generator) -> NDArray[np.uint8]:
        return (~bernoulli(rng, self.key_basis_probability, count)).view(np.uint8)

    def _with_noise(self, frame: PhotonFrame, clicks: Clicks, rng: np.random.Generator) -> Clicks:
        pulses, bases, patterns = clicks.pulses, clicks.bases, clicks.patterns
        for detector, probability in zip((ZERO, ONE), self.noise, strict=True):
            dark = distinct_positions(rng, probability, frame.pulse_count) + frame.first_pulse
            known = np.isin(dark, pulses, assume_unique=True)
            patterns[np.searchsorted(pulses, dark[known])] |= detector
            fresh = dark[~known]
            where = np.searchsorted(pulses, fresh)
            pulses = np.insert(pulses, where, fresh)
            bases = np.insert(bases, where, self._bases(fresh.size, rng))
            patterns = np.insert(patterns, where, detector)
        return Clicks(pulses, bases, patterns)


def _only_clicks(
    pulses: NDArray[np.int64], bases: NDArray[np.uint8], patterns: NDArray[np.uint8]
) -> Clicks:
    fired = np.flatnonzero(patterns)
    if fired.size == patterns.size:
        return Clicks(pulses, bases, patterns)
    return Clicks(pulses[fired], bases[fired], patterns[fired])
