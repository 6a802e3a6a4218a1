"""Holds the unit's time against the host's clock, since its words carry no other check. No I/O.

Words carry 27 bits of time and no number. One lost byte, a lost second or a unit that starts
its counter anew would move every later click to a wrong pulse. All that shows as a step
against the host's clock, in which the unit's time can be neither early nor, once the line is
empty, late by more than the longest pause between words. A smaller step passes here; it
raises the QBER to one half, and distillation aborts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qkd_hal.errors import ProtocolError
from qkd_hal_drivers.tdc1._words import TICK_SECONDS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["TimeBase"]

# Dummies leave pauses of at most half a counter, 134 ms; a whole one, 268 ms, must show. What
# lies between is shared among the pause, two slices of reading, and a line that is slow.
_EARLY_SECONDS = 0.15
_LATE_SECONDS = 0.20
_FIRST_WORD_SECONDS = 1.0
_CURE = "Start the acquisition anew, with new light; shorten or replace the cable if it recurs"


class TimeBase:
    """Checks every read. Host times are seconds of one clock; *started* is when words began."""

    def __init__(self, started: float, *, device: str) -> None:
        self._device = device
        self._tick: int | None = None
        self._before = self._after = started

    def check(
        self, ticks: NDArray[np.int64], before: float, after: float, *, drained: bool
    ) -> None:
        """Judge one read that ran from *before* to *after* and brought *ticks*.

        *drained*: it took all there was.

        Raises:
            ProtocolError: the unit's time does not go with the host's.
        """
        if self._tick is None:
            if not ticks.size:
                self._check_begun(before)
                return
            self._tick, self._after = int(ticks[0]), after
        newest = int(ticks[-1]) if ticks.size else self._tick
        advance = (newest - self._tick) * TICK_SECONDS
        if advance > after - self._before + _EARLY_SECONDS:
            raise self._lost("runs ahead of the clock: bytes were lost, or its counter jumped")
        if drained and before - self._after - advance > _LATE_SECONDS:
            raise self._lost("stands still, or too many words were lost to tell the time")
        if drained and ticks.size:
            self._tick, self._before, self._after = newest, before, after

    def _check_begun(self, before: float) -> None:
        if before - self._after > _FIRST_WORD_SECONDS:
            raise self._lost("does not begin: no word has come")

    def _lost(self, what: str) -> ProtocolError:
        return ProtocolError(f"the unit's time {what}", device=self._device, cure=_CURE)
