"""What Eve knows of the link before she starts: its data sheet is no secret."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qkd_hal_simulators.physics.fibre import Fibre

__all__ = ["Target"]


@dataclass(frozen=True, slots=True)
class Target:
    """The line that Eve sits on.

    *fibre* as it was laid; *efficiency* of the receiver; *photon_numbers*: P(n photons in a
    pulse), n = 0, 1, …, over all intensities, for she cannot tell a pulse's intensity.
    *honest_clicks*: detections per pulse when nobody taps the line, dark counts and all;
    *clock_hz*: pulses per second.
    """

    fibre: Fibre
    efficiency: float
    photon_numbers: NDArray[np.float64] = field(repr=False)
    honest_clicks: float
    clock_hz: float

    @property
    def signal_clicks(self) -> float:
        """Clicks per pulse that its photons make when nobody taps the line."""
        arriving = self.fibre.transmittance * self.efficiency
        silent = (1 - arriving) ** np.arange(self.photon_numbers.size)
        return 1 - float(silent @ self.photon_numbers)

    def split_clicks(self) -> tuple[float, float]:
        """Return clicks per pulse from single photons and from split pulses, all let through.

        Over a line without loss; a split pulse has lost one photon to Eve.
        """
        single = float(self.photon_numbers[1]) * self.efficiency
        left = np.arange(1, self.photon_numbers.size - 1)
        clicks = 1 - (1 - self.efficiency) ** left
        return single, float(self.photon_numbers[2:] @ clicks)
