"""Photon-number splitting: keep one photon of each pulse that has several."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from qkd_hal_simulators.physics.eve.attack import Hands, check_share, with_photons
from qkd_hal_simulators.physics.eve.notebook import Holding
from qkd_hal_simulators.physics.fibre import thin

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qkd_hal_simulators.physics.eve.target import Target
    from qkd_hal_simulators.physics.fibre import Fibre
    from qkd_hal_simulators.physics.frame import PhotonFrame

__all__ = ["PhotonNumberSplitting"]


@dataclass(frozen=True, slots=True)
class PhotonNumberSplitting:
    """Count the photons of a *fraction* of the pulses without disturbing them, then split.

    Of several photons Eve keeps one in a quantum memory until the basis is announced. Of
    pulses of one photon she blocks the share *blocked*, of split ones *blocked_split*. What
    she lets through travels without loss instead of through the *fibre*, so that the mean
    rate can stay what it was. No bit is wrong; only the yields of single photons tell
    (Brassard, Lütkenhaus, Mor and Sanders, PRL 85, 1330, 2000).

    Raises:
        UsageError: a share is none.
    """

    fibre: Fibre
    fraction: float = 1.0
    blocked: float = 1.0
    blocked_split: float = 0.0
    hands: Hands = field(default_factory=Hands)
    replaces_line: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_share("fraction", self.fraction)
        check_share("blocked", self.blocked)
        check_share("blocked_split", self.blocked_split)

    @classmethod
    def keeping_rate(
        cls, target: Target, fraction: float = 1.0, hands: Hands | None = None
    ) -> PhotonNumberSplitting:
        """Block as many pulses as keeps the rate of clicks: single photons first."""
        wanted = target.signal_clicks
        single, split = target.split_clicks()
        through = min(1.0, max(0.0, wanted - split) / single) if single else 1.0
        split_through = min(1.0, wanted / split) if split else 1.0
        return cls(target.fibre, fraction, 1 - through, 1 - split_through, hands or Hands())

    def tap(self, frame: PhotonFrame, rng: np.random.Generator) -> PhotonFrame:
        """Return the light that arrives at the receiver."""
        where = self.hands.choose(frame, self.fraction, rng)
        arriving = thin(frame.photons, self.fibre.transmittance, rng)
        photons = frame.photons[where]
        through, held = self._split(photons, rng)
        arriving[where] = through
        self.hands.blocked += int((through == 0).sum())
        kept = where[held]
        holdings = np.full(kept.size, Holding.PHOTON, np.uint8)
        self.hands.note(frame, kept, holdings, frame.states[kept] & np.uint8(1))
        return with_photons(frame, arriving)

    def _split(
        self, photons: NDArray[np.uint8], rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Return how many photons go on, and of which pulses Eve holds one."""
        several = photons > 1
        chance = np.where(several, self.blocked_split, self.blocked)
        stopped = rng.random(photons.size) < chance
        through = np.where(stopped, 0, photons - several).astype(np.uint8)
        return through, several | stopped
