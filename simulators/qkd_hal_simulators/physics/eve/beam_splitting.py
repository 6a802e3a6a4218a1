"""Beam splitting: keep what the fibre would lose."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from qkd_hal_simulators.physics.eve.attack import Hands, check_share, with_photons
from qkd_hal_simulators.physics.eve.notebook import Holding
from qkd_hal_simulators.physics.fibre import thin

if TYPE_CHECKING:
    from qkd_hal_simulators.physics.fibre import Fibre
    from qkd_hal_simulators.physics.frame import PhotonFrame

__all__ = ["BeamSplitting"]


@dataclass(frozen=True, slots=True)
class BeamSplitting:
    """Replace the *fibre* by a line without loss, behind a beam splitter of the same loss.

    Of a *fraction* of the pulses Eve keeps the photons that the fibre would have lost, until
    the basis is announced. Nothing that the two ends can count changes: the only defence is
    to take no pulse of several photons for secret, as the decoy bounds do.

    Raises:
        UsageError: *fraction* is none.
    """

    fibre: Fibre
    fraction: float = 1.0
    hands: Hands = field(default_factory=Hands)
    replaces_line: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_share("fraction", self.fraction)

    def tap(self, frame: PhotonFrame, rng: np.random.Generator) -> PhotonFrame:
        """Return the light that arrives at the receiver."""
        where = self.hands.choose(frame, self.fraction, rng)
        arriving = thin(frame.photons, self.fibre.transmittance, rng)
        kept = where[arriving[where] < frame.photons[where]]
        holdings = np.full(kept.size, Holding.PHOTON, np.uint8)
        self.hands.note(frame, kept, holdings, frame.states[kept] & np.uint8(1))
        return with_photons(frame, arriving)
