"""What all attacks have in common."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

from qkd_hal.errors import UsageError
from qkd_hal_simulators.physics.eve.budget import Budget
from qkd_hal_simulators.physics.eve.notebook import Notebook
from qkd_hal_simulators.physics.frame import PhotonFrame
from qkd_hal_simulators.physics.random import bernoulli

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Attack", "Hands", "check_share", "with_photons"]


@dataclass(slots=True)
class Hands:
    """What Eve works with: a *budget*, and *notes* of what she took.

    ``seen`` counts pulses that held light, ``blocked`` those that she let end there.
    """

    budget: Budget = field(default_factory=Budget)
    notes: Notebook = field(default_factory=Notebook, repr=False)
    seen: int = field(default=0, init=False)
    blocked: int = field(default=0, init=False)

    def choose(
        self, frame: PhotonFrame, fraction: float, rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """Return which of the lit pulses she taps, rising: *fraction* of them, on average.

        A budget that runs out in the middle of a frame ends there: nobody knows what light
        is still to come.
        """
        self.seen += frame.lit.size
        wanted = np.flatnonzero(bernoulli(rng, fraction, frame.lit.size))
        return wanted[: self.budget.grant(wanted.size, frame.pulse_count)]

    def note(
        self,
        frame: PhotonFrame,
        where: NDArray[np.int64],
        holdings: NDArray[np.uint8],
        bits: NDArray[np.uint8],
    ) -> None:
        """Remember what she holds of the lit pulses *where*."""
        self.notes.write(frame.first_pulse, frame.pulse_count, frame.lit[where], holdings, bits)


class Attack(Protocol):
    """One way to eavesdrop on the quantum channel."""

    @property
    def fraction(self) -> float:
        """The share of the pulses that she taps as long as her budget lasts."""
        ...

    @property
    def hands(self) -> Hands:
        """Budget, notes and counts."""
        ...

    @property
    def replaces_line(self) -> bool:
        """True if Eve owns the whole line: what :meth:`tap` returns is at the receiver.

        Otherwise it is at the sender's end of the fibre.
        """
        ...

    def tap(self, frame: PhotonFrame, rng: np.random.Generator) -> PhotonFrame:
        """Return the light that Eve sends on in place of *frame*."""
        ...


def check_share(name: str, share: float) -> None:
    """Refuse a share that is none.

    Raises:
        UsageError: *share* does not lie between 0 and 1.
    """
    if not 0 <= share <= 1:
        raise UsageError(f"{name} is {share:g}", cure=f"Give {name} as a number from 0 to 1")


def with_photons(frame: PhotonFrame, photons: NDArray[np.uint8]) -> PhotonFrame:
    """Return *frame* with other photon numbers; pulses of none are dark."""
    lit = np.flatnonzero(photons)
    states = photons[lit] << np.uint8(2) | frame.states[lit] & np.uint8(3)
    return PhotonFrame(frame.first_pulse, frame.pulse_count, frame.lit[lit], states)
