"""Polarisation that wanders, and the controller that follows it by the error rate alone.

A fibre turns polarisation slowly and at random. Turned by an angle, a photon measured in its
own basis goes to the wrong detector with a chance that grows by sin^2 of it, which does not say
in which direction. The controller therefore sets the receiver a little to either side of where it
believes the middle to be, block by block, and moves towards the side with fewer errors.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Aligner", "Drift", "turned"]

_DITHER = 0.03  # radians: costs 0.0009 of QBER, and shows an error of 0.01 in 40,000 test bits
_GAIN = 0.5  # share of the found error that is corrected: the rest is averaging


def turned(misalignment: float, angle: float) -> float:
    """Return the misalignment when the polarisation is off by *angle* radians."""
    return misalignment + (1 - 2 * misalignment) * math.sin(angle) ** 2


class Drift:
    """A random walk. *mrad_per_hour*: root mean square change of the angle in an hour."""

    def __init__(self, mrad_per_hour: float, rng: np.random.Generator) -> None:
        self._per_root_second = mrad_per_hour / 1000 / math.sqrt(3600)
        self._rng = rng
        self.angle = 0.0

    def advance(self, seconds: float) -> None:
        """Let time go by."""
        self.angle += self._per_root_second * math.sqrt(seconds) * self._rng.standard_normal()


class Aligner:
    """Extremum-seeking feedback from the QBER of each block.

    ``setting``: the angle of the receiver for the light of the next block.
    """

    def __init__(self) -> None:
        self._middle = 0.0
        self._side = 1
        self._before: float | None = None

    @property
    def setting(self) -> float:
        """Where to set the receiver, in radians."""
        return self._middle + self._side * _DITHER

    def update(self, qber: float) -> None:
        """Take the error rate of a block whose light was measured at :attr:`setting`."""
        if self._before is not None:
            # Both sides were measured: sin^2(x - d) - sin^2(x + d) = -sin 2x sin 2d.
            slope = self._side * (self._before - qber) / math.sin(2 * _DITHER)
            self._middle += _GAIN * math.asin(max(-1.0, min(1.0, slope))) / 2
        self._before = qber if self._before is None else None
        self._side = -self._side
