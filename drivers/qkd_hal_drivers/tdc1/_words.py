"""Bytes of the stream to time stamps on one scale that never rolls over. No I/O.

A word has 32 bits, little-endian: 27 of time in steps of 2 ns, a flag for a dummy that only
says that time passes, and four for the inputs that fired.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["COUNTER_TICKS", "TICK_SECONDS", "WordReader"]

TICK_SECONDS = 2e-9
COUNTER_TICKS = 1 << 27
_WORD_BYTES = 4
_PATTERN_BITS = 5
_DUMMY = 0x10
_INPUTS = 0x0F


class WordReader:
    """Extends 27-bit times to 64 bits: a time below the last means one roll-over."""

    def __init__(self) -> None:
        self._rest = b""
        self._last = 0

    def feed(self, data: bytes) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        """Take bytes, cut anywhere; return the times, in ticks, and the inputs of each word.

        Dummies have no inputs. Times never fall.
        """
        data = self._rest + data
        whole = len(data) - len(data) % _WORD_BYTES
        self._rest = data[whole:]
        words = np.frombuffer(data, "<u4", whole // _WORD_BYTES)
        counter = (words >> _PATTERN_BITS).astype(np.int64)
        turns = np.diff(counter, prepend=np.int64(self._last % COUNTER_TICKS)) < 0
        epoch = self._last - self._last % COUNTER_TICKS
        ticks = epoch + np.cumsum(turns) * COUNTER_TICKS + counter
        if ticks.size:
            self._last = int(ticks[-1])
        inputs = np.where(words & _DUMMY, 0, words & _INPUTS).astype(np.uint8)
        return ticks, inputs
