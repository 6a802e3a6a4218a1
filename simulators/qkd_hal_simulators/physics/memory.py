"""What a click does to the pulses after it: dead time and afterpulsing.

A click blanks both detectors for ``dead_pulses`` pulses, as receivers do so that no detector
is blind alone. With ``afterpulse_probability`` it also leaves one trapped carrier in a detector
that clicked; unless another click comes first, the carrier fires that detector once, after the
dead time and a geometric wait of ``afterpulse_pulses`` on average. Every click, an afterpulse
too, starts this anew: the clicks of an i.i.d. channel are a renewal process.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qkd_hal_simulators.physics.clicks import BOTH, Clicks
from qkd_hal_simulators.physics.random import bernoulli, geometric

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["NEVER", "Glow", "Memory", "Recovery"]

NEVER = 1 << 60  # pulses: no frame and no sampler looks that far ahead


@dataclass(frozen=True, slots=True)
class Memory:
    """Figures of the effect; by default there is none. ``afterpulse_pulses`` is at least 1."""

    dead_pulses: int = 0
    afterpulse_probability: float = 0.0
    afterpulse_pulses: float = 1.0

    @property
    def none(self) -> bool:
        """True when pulses do not feel earlier ones."""
        return not self.dead_pulses and not self.afterpulse_probability

    def echoes(self, rng: np.random.Generator, count: int) -> NDArray[np.int64]:
        """Return, for *count* clicks, the pulses from the dead time's end to the afterpulse.

        At least 1; ``NEVER`` where no carrier was trapped.
        """
        delays = np.full(count, NEVER, np.int64)
        trapped = np.flatnonzero(bernoulli(rng, self.afterpulse_probability, count))
        delays[trapped] = geometric(rng, 1 / self.afterpulse_pulses, trapped.size)
        return delays

    def mean_gap(self, click_probability: float) -> float:
        """Return the mean number of pulses from one click to the next.

        *click_probability*: of a pulse with rested detectors.
        """
        trapped = self.afterpulse_probability
        quick = click_probability + (1 - click_probability) / self.afterpulse_pulses
        return self.dead_pulses + (1 - trapped) / click_probability + trapped / quick

    def kinds(self, click_probability: float) -> tuple[float, float, float]:
        """Return the shares of clicks without, of, and with an afterpulse beside them."""
        echo = 1 / self.afterpulse_pulses
        quick = click_probability + (1 - click_probability) * echo
        first = self.afterpulse_probability * echo / quick
        return 1 - first, first * (1 - click_probability), first * click_probability


class Glow:
    """Which detector the trapped carrier sits in, from click to click."""

    def __init__(self) -> None:
        self._detector = np.uint8(1)

    def patterns(
        self, own: NDArray[np.uint8], echo: NDArray[np.bool_], rng: np.random.Generator
    ) -> NDArray[np.uint8]:
        """Return which detectors clicked, for clicks in the order of time.

        *own*: what fires without afterpulses, 0 for nothing; *echo*: where the carrier of the
        click before fires as well.
        """
        coin = bernoulli(rng, 0.5, own.size)
        # Of two detectors that fire together, either may trap the next carrier.
        alone = np.where(own == BOTH, 1 + coin.astype(np.uint8), own)
        inherits = (own == 0) | echo & (own != BOTH) & coin
        origin = np.maximum.accumulate(np.where(inherits, -1, np.arange(own.size)))
        glowing = np.where(origin < 0, self._detector, alone[origin]).astype(np.uint8)
        before = np.concatenate(([self._detector], glowing[:-1]))
        if own.size:
            self._detector = glowing[-1]
        patterns: NDArray[np.uint8] = own | np.where(echo, before, np.uint8(0))
        return patterns


class Recovery:
    """Applies a :class:`Memory` to the clicks that rested detectors would give.

    It carries dead time and afterpulses from one span of pulses to the next.
    """

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._glow = Glow()
        self._last = -NEVER  # the latest click, in pulses from the end of the last span
        self._due = NEVER  # its afterpulse, alike

    def apply(
        self,
        raw: Clicks,
        span: tuple[int, int],
        bases: Callable[[int], NDArray[np.uint8]],
        rng: np.random.Generator,
    ) -> Clicks:
        """Return the clicks seen in pulses ``[span[0], span[1])``.

        *bases* draws those of afterpulses. Pulses between the last span and this one count
        as none: nothing is known of them.
        """
        if self._memory.none:
            return raw
        start, size = span[0], span[1] - span[0]
        chains = _Chains(self._memory, raw.pulses - start, size, rng)
        chains.run(self._last, self._due)
        last, due = (int(row[chains.path[-1]]) for row in (chains.clicked, chains.due))
        self._last, self._due = max(last - size, -NEVER), min(due - size, NEVER)
        return self._merge(raw, start, chains, bases, rng)

    def _merge(
        self,
        raw: Clicks,
        start: int,
        chains: _Chains,
        bases: Callable[[int], NDArray[np.uint8]],
        rng: np.random.Generator,
    ) -> Clicks:
        seen = chains.path[1:] - 1
        lonely = chains.lonely() + start
        pulses = np.concatenate((raw.pulses[seen], lonely))
        order = np.argsort(pulses, kind="stable")
        own = np.concatenate((raw.patterns[seen], np.zeros(lonely.size, np.uint8)))
        echo = np.concatenate((chains.coincides[chains.path[:-1]], np.ones(lonely.size, bool)))
        chosen = np.concatenate((raw.bases[seen], bases(lonely.size)))
        patterns = self._glow.patterns(own[order], echo[order], rng)
        return Clicks(pulses[order], chosen[order], patterns)


class _Chains:
    """For each raw click, were it seen: the afterpulses until the raw click seen next.

    Row 0 stands for the click before the first; raw click i is row i + 1. ``path``: the rows
    that are seen.
    """

    def __init__(
        self, memory: Memory, pulses: NDArray[np.int64], end: int, rng: np.random.Generator
    ) -> None:
        self._memory = memory
        self._times = np.append(pulses, end)  # the end stands for the next raw click there
        self._rng = rng
        self._rows: list[NDArray[np.int64]] = []
        self._pulses: list[NDArray[np.int64]] = []
        self.clicked = np.concatenate(([0], pulses))
        self.due = np.empty_like(self.clicked)
        self.following = np.empty_like(self.clicked)
        self.coincides = np.zeros(self.clicked.size, bool)
        self.path: NDArray[np.int64]

    def run(self, last: int, due: int) -> None:
        """Follow all chains, round by round."""
        self.clicked[0] = last
        self.due = self._fire_after(self.clicked)
        self.due[0] = due
        active = np.arange(self.clicked.size)
        while active.size:
            active = self._step(active)
        self.path = _orbit(self.following)

    def lonely(self) -> NDArray[np.int64]:
        """Return the afterpulses in :attr:`path` that fell on no raw click."""
        on_path = np.zeros(self.clicked.size, bool)
        on_path[self.path] = True
        found = [
            pulses[on_path[rows]] for rows, pulses in zip(self._rows, self._pulses, strict=True)
        ]
        return np.concatenate(found or [np.zeros(0, np.int64)])

    def _step(self, active: NDArray[np.int64]) -> NDArray[np.int64]:
        rest = self.clicked[active] + self._memory.dead_pulses
        following = np.searchsorted(self._times[:-1], rest, side="right")
        upcoming, due = self._times[following], self.due[active]
        self.following[active] = following + 1
        self.coincides[active] = (due == upcoming) & (following < self._times.size - 1)
        early = due < upcoming
        fired, pulses = active[early], due[early]
        self._rows.append(fired)
        self._pulses.append(pulses)
        self.clicked[fired] = pulses
        self.due[fired] = self._fire_after(pulses)
        return fired

    def _fire_after(self, clicked: NDArray[np.int64]) -> NDArray[np.int64]:
        echoes = self._memory.echoes(self._rng, clicked.size)
        return clicked + self._memory.dead_pulses + echoes


def _orbit(following: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return 0, following[0], following[following[0]], ... below the number of rows.

    Doubling takes a logarithmic number of array operations, where a walk takes one step of
    Python per click.
    """
    rows = following.size
    jump = np.append(following, rows)
    path = np.zeros(1, np.int64)
    while path[-1] < rows:
        path = np.concatenate((path, jump[path]))
        jump = jump[jump]
    return path[path < rows]
