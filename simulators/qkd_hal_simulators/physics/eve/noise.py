"""Plain noise: Eve learns nothing, and only spoils."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from qkd_hal_simulators.physics.eve.attack import Hands, check_share
from qkd_hal_simulators.physics.frame import PhotonFrame

__all__ = ["Noise"]


@dataclass(frozen=True, slots=True)
class Noise:
    """Give a *fraction* of the pulses a polarisation at random: half of their bits are wrong.

    Raises:
        UsageError: *fraction* is none.
    """

    fraction: float = 1.0
    hands: Hands = field(default_factory=Hands)
    replaces_line: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_share("fraction", self.fraction)

    def tap(self, frame: PhotonFrame, rng: np.random.Generator) -> PhotonFrame:
        """Return the light that Eve sends on."""
        where = self.hands.choose(frame, self.fraction, rng)
        states = frame.states.copy()
        states[where] &= ~np.uint8(3)
        states[where] |= rng.integers(0, 4, where.size, np.uint8)
        return PhotonFrame(frame.first_pulse, frame.pulse_count, frame.lit, states)
