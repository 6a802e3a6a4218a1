"""Intercept and resend: measure a pulse in some basis and send what was seen."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

import numpy as np

from qkd_hal.errors import UsageError
from qkd_hal_simulators.physics.eve.attack import Hands, check_share
from qkd_hal_simulators.physics.eve.notebook import BREIDBART_CERTAINTY, Holding
from qkd_hal_simulators.physics.frame import PhotonFrame
from qkd_hal_simulators.physics.random import bernoulli

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["BASES", "Basis", "InterceptResend"]

Basis: TypeAlias = Literal["random", "x", "z", "breidbart"]
BASES: tuple[Basis, ...] = ("random", "x", "z", "breidbart")
_ONE_PHOTON = np.uint8(1 << 2)


@dataclass(frozen=True, slots=True)
class InterceptResend:
    """Measure a *fraction* of the pulses in *basis* and send what was seen.

    Her detectors are perfect. In X, Z or either at random she keeps the photon number, so
    that only errors give her away: a quarter of *fraction* with either basis at random. The
    Breidbart basis lies halfway between X and Z. It costs the same quarter and never makes
    her sure, but she guesses better: 0.854 instead of 0.75 (Bennett et al., J. Cryptology 5,
    3, 1992). There she sends single photons, since two of such a state would often click in
    both detectors.

    Raises:
        UsageError: *fraction* or *basis* is none.
    """

    fraction: float = 1.0
    basis: Basis = "random"
    hands: Hands = field(default_factory=Hands)
    replaces_line: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_share("fraction", self.fraction)
        if self.basis not in BASES:
            raise UsageError(f"no basis {self.basis!r}", cure=f"Take one of {', '.join(BASES)}")

    def tap(self, frame: PhotonFrame, rng: np.random.Generator) -> PhotonFrame:
        """Return the light that Eve sends on."""
        where = self.hands.choose(frame, self.fraction, rng)
        measure = _in_breidbart if self.basis == "breidbart" else self._in_x_or_z
        holdings, seen, resent = measure(frame.states[where], rng)
        self.hands.note(frame, where, holdings, seen)
        states = frame.states.copy()
        states[where] = resent
        return PhotonFrame(frame.first_pulse, frame.pulse_count, frame.lit, states)

    def _in_x_or_z(
        self, states: NDArray[np.uint8], rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
        bases = self._bases(states.size, rng)
        guesses = rng.integers(0, 2, states.size, np.uint8)
        seen = np.where(bases == states >> 1 & 1, states & 1, guesses).astype(np.uint8)
        resent = states & ~np.uint8(3) | bases << np.uint8(1) | seen
        return bases, seen, resent.astype(np.uint8, copy=False)

    def _bases(self, count: int, rng: np.random.Generator) -> NDArray[np.uint8]:
        if self.basis == "random":
            return rng.integers(0, 2, count, np.uint8)
        only = Holding.MEASURED_Z if self.basis == "z" else Holding.MEASURED_X
        return np.full(count, only, np.uint8)


def _in_breidbart(
    states: NDArray[np.uint8], rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    # A frame has no name for Breidbart states. What the receiver would find, measuring in
    # the sender's basis, stands for one: exact for all that sifting keeps, and what it
    # discards nobody looks at.
    astray = 1 - BREIDBART_CERTAINTY
    seen = states & np.uint8(1) ^ bernoulli(rng, astray, states.size).view(np.uint8)
    found = seen ^ bernoulli(rng, astray, states.size).view(np.uint8)
    holdings = np.full(states.size, Holding.MEASURED_BREIDBART, np.uint8)
    return holdings, seen, _ONE_PHOTON | states & np.uint8(2) | found
