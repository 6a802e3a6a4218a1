"""Eavesdropper: intercept and resend on all pulses or a fraction of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qkd_hal_simulators.physics.frame import PhotonFrame
from qkd_hal_simulators.physics.random import bernoulli

__all__ = ["InterceptResend"]


@dataclass(frozen=True, slots=True)
class InterceptResend:
    """Measure a *fraction* of the pulses in a random basis and send what was seen.

    Eve's detectors are perfect and she keeps the photon number, so that only the error
    rate, a quarter of *fraction*, gives her away.
    """

    fraction: float = 1.0

    def tap(self, frame: PhotonFrame, rng: np.random.Generator) -> PhotonFrame:
        """Return the light that Eve sends on."""
        bases = rng.integers(0, 2, frame.lit.size, np.uint8)
        guesses = rng.integers(0, 2, frame.lit.size, np.uint8)
        seen = np.where(bases == frame.bases, frame.bits, guesses)
        resent = frame.states & ~np.uint8(3) | bases << 1 | seen
        tapped = bernoulli(rng, self.fraction, frame.lit.size)
        states = np.where(tapped, resent, frame.states).astype(np.uint8)
        return PhotonFrame(frame.first_pulse, frame.pulse_count, frame.lit, states)
