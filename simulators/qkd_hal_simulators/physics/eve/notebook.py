"""What Eve remembers of single pulses until their bases are announced."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

from qkd_hal_simulators.physics.eve.knowledge import Knowledge

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["BREIDBART_CERTAINTY", "Guesses", "Holding", "Notebook"]

BREIDBART_CERTAINTY = math.cos(math.pi / 8) ** 2  # 0.854: right as often in either basis
_CAPACITY = 1 << 25  # notes of 5 bytes each: the light that is out, on a line of 30 dB
_PAGE_COST = 100  # what a page weighs beside its notes, in notes


class Holding(IntEnum):
    """How Eve came by a bit. The first two are also the bases' numbers in a frame."""

    MEASURED_X = 0
    MEASURED_Z = 1
    MEASURED_BREIDBART = 2
    PHOTON = 3  # in a quantum memory: measured once she hears the basis


# Probability that her bit is the emitter's, by holding and announced basis.
_CERTAINTY = np.array(
    [[1.0, 0.5], [0.5, 1.0], [BREIDBART_CERTAINTY, BREIDBART_CERTAINTY], [1.0, 1.0]]
)


@dataclass(frozen=True, slots=True)
class Guesses:
    """Eve's ``bits`` (uint8) for some pulses, each right with its ``certainties`` (0.5 to 1)."""

    bits: NDArray[np.uint8] = field(repr=False)
    certainties: NDArray[np.float64] = field(repr=False)

    @property
    def knowledge(self) -> Knowledge:
        """The sum of it."""
        return Knowledge.of(self.certainties)


@dataclass(frozen=True, slots=True)
class _Page:
    """Notes on one frame: positions rise within it; a note is ``holding << 1 | bit``."""

    first_pulse: int
    end_pulse: int
    positions: NDArray[np.uint32] = field(repr=False)
    notes: NDArray[np.uint8] = field(repr=False)

    @property
    def weight(self) -> int:
        """What it costs to keep, in notes."""
        return self.notes.size + _PAGE_COST


class Notebook:
    """Notes on consecutive frames; one thread may write while another reads.

    At most about *capacity* notes: the oldest frames are forgotten first, for nobody announces
    pulses that never clicked on a line that lost them all.
    """

    def __init__(self, *, capacity: int = _CAPACITY) -> None:
        self._capacity = capacity
        self._lock = threading.Lock()
        self._pages: list[_Page] = []
        self._weight = 0

    @property
    def held(self) -> int:
        """Notes that she has."""
        with self._lock:
            return sum(page.notes.size for page in self._pages)

    def write(
        self,
        first_pulse: int,
        pulse_count: int,
        positions: NDArray[np.int64],
        holdings: NDArray[np.uint8],
        bits: NDArray[np.uint8],
    ) -> None:
        """Add the notes on one frame; *positions* rise within it.

        A frame that starts before the last one ended is a new emission: all older notes
        are of no use then.
        """
        notes = holdings << np.uint8(1) | bits
        page = _Page(first_pulse, first_pulse + pulse_count, positions.astype(np.uint32), notes)
        with self._lock:
            if self._pages and first_pulse < self._pages[-1].end_pulse:
                self._forget(len(self._pages))
            if notes.size:
                self._pages.append(page)
                self._weight += page.weight
            while self._weight > self._capacity:
                self._forget(1)

    def read(self, pulses: NDArray[np.int64], bases: NDArray[np.uint8]) -> Guesses:
        """Return her guess for each of *pulses*, rising, given the announced *bases*.

        Where she has no note she guesses 0, which is right half of the time.
        """
        bits = np.zeros(pulses.size, np.uint8)
        certainties = np.full(pulses.size, 0.5)
        with self._lock:
            for page in self._pages:
                low, high = np.searchsorted(pulses, (page.first_pulse, page.end_pulse))
                wanted = pulses[low:high] - page.first_pulse
                where = np.searchsorted(page.positions, wanted)
                found = np.flatnonzero(where < page.positions.size)
                found = found[page.positions[where[found]] == wanted[found]]
                notes = page.notes[where[found]]
                bits[low + found] = notes & 1
                certainties[low + found] = _CERTAINTY[notes >> 1, bases[low + found]]
        return Guesses(bits, certainties)

    def discard(self, before: int) -> None:
        """Overwrite and forget the frames that lie wholly below *before*."""
        with self._lock:
            old = [page.end_pulse <= before for page in self._pages]
            self._forget(old.index(False) if False in old else len(old))

    def _forget(self, count: int) -> None:
        for page in self._pages[:count]:
            page.notes.fill(0)
            self._weight -= page.weight
        del self._pages[:count]
