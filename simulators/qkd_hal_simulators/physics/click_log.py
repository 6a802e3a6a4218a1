"""What the emitter remembers when only clicks were sampled: a state for each of them.

An honest detector asks for no other pulse. One that does still gets an answer, the same each
time: a state drawn as those of silent pulses are, from the pulse's number and a secret.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np

from qkd_hal.distillation.sifting import Emitted
from qkd_hal.errors import ProtocolError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ClickLog"]


class ClickLog:
    """States of clicks by pulse; an :class:`~qkd_hal.distillation.sifting.EmissionLog`.

    *silent*: probability of each state, ``intensity << 2 | basis << 1 | bit``, in pulses that
    do not click. The light source adds in one thread while the engine looks up in another.
    """

    def __init__(
        self, silent: NDArray[np.float64], *, first_pulse: int, rng: np.random.Generator
    ) -> None:
        self._edges = np.cumsum(silent / silent.sum())[:-1]
        self._secret = rng.integers(0, 1 << 64, 2, np.uint64)
        self._lock = threading.Lock()
        self._pulses: list[NDArray[np.int64]] = []
        self._states: list[NDArray[np.uint8]] = []
        self._starts = [first_pulse]  # of each frame, and the end of the last

    @property
    def end(self) -> int:
        """One past the last pulse that was emitted."""
        return self._starts[-1]

    @property
    def held(self) -> int:
        """Clicks that are remembered."""
        with self._lock:
            return sum(states.size for states in self._states)

    def add(self, pulses: NDArray[np.int64], states: NDArray[np.uint8], end: int) -> None:
        """Append the frame up to pulse *end*; the log owns *states* from now on."""
        with self._lock:
            self._pulses.append(pulses)
            self._states.append(states)
            self._starts.append(end)

    def states(self, pulses: NDArray[np.int64]) -> Emitted:
        """Return what was prepared in *pulses*, strictly rising.

        Raises:
            ProtocolError: the detector names pulses that are forgotten or were never sent.
        """
        with self._lock:
            if pulses.size and not self._starts[0] <= pulses[0] <= pulses[-1] < self._starts[-1]:
                raise ProtocolError("the detector names pulses that are no longer remembered")
            found = self._look_up(pulses)
        return Emitted(
            found >> np.uint8(1) & np.uint8(1), found & np.uint8(1), found >> np.uint8(2)
        )

    def discard(self, before: int) -> None:
        """Overwrite and forget the frames that lie wholly below *before*."""
        with self._lock:
            while self._states and self._starts[1] <= before:
                self._states.pop(0).fill(0)
                self._pulses.pop(0)
                self._starts.pop(0)

    def _look_up(self, pulses: NDArray[np.int64]) -> NDArray[np.uint8]:
        found = np.empty(pulses.size, np.uint8)
        parts = np.searchsorted(pulses, np.array(self._starts, np.int64))
        for i, (clicks, states) in enumerate(zip(self._pulses, self._states, strict=True)):
            part = slice(parts[i], parts[i + 1])
            found[part] = self._in_frame(pulses[part], clicks, states)
        return found

    def _in_frame(
        self, pulses: NDArray[np.int64], clicks: NDArray[np.int64], states: NDArray[np.uint8]
    ) -> NDArray[np.uint8]:
        # An honest detector names clicks in a row, unless some were lost on the way.
        begin = int(np.searchsorted(clicks, pulses[0])) if pulses.size else 0
        row = slice(begin, begin + pulses.size)
        if np.array_equal(clicks[row], pulses):
            return states[row]
        where = np.searchsorted(clicks, pulses).clip(max=clicks.size - 1)
        clicked = clicks[where] == pulses if clicks.size else np.zeros(pulses.size, bool)
        found = np.empty(pulses.size, np.uint8)
        found[clicked] = states[where[clicked]]
        found[~clicked] = self._silent_states(pulses[~clicked])
        return found

    def _silent_states(self, pulses: NDArray[np.int64]) -> NDArray[np.uint8]:
        words = pulses.view(np.uint64)
        for secret in self._secret:
            words = _mix(words + secret)
        chances = (words >> np.uint64(11)) * 2.0**-53
        return np.searchsorted(self._edges, chances, side="right").astype(np.uint8)


def _mix(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return Steele, Lea and Flood's finaliser of SplitMix64 (OOPSLA 2014)."""
    words = (words ^ words >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ words >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return words ^ words >> np.uint64(31)
