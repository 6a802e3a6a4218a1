"""Cascade's schedule, which both ends follow step by step.

Each end yields its own parities of what comes next, and is told which of them differ from the
other end's. So both know the same about where the errors are, agree on what comes next without
naming it, and nobody can ask for anything else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qkd_hal.distillation.cascade_masks import Confirmation
from qkd_hal.distillation.cascade_native import NativePass
from qkd_hal.distillation.cascade_numpy import NumpyPass
from qkd_hal.distillation.cascade_pass import pack_words
from qkd_hal.distillation.native import AVAILABLE
from qkd_hal.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from numpy.typing import NDArray

    from qkd_hal.distillation.cascade_pass import Pass

    Bits = NDArray[np.uint8]
    Steps = Generator[Bits, Bits, None]

__all__ = ["MAX_CONFIRMATIONS", "Search"]

BestPass: type[Pass] = NativePass if AVAILABLE else NumpyPass
MAX_CONFIRMATIONS = 64  # honest runs need two or three; each costs both ends time


class Search:
    """One end's search for the errors of a *key*, in passes of blocks of these *sizes*.

    *corrects*: this end's key is the one with errors; it is changed in place, at the end.
    """

    def __init__(self, key: Bits, seed: bytes, sizes: Sequence[int], *, corrects: bool) -> None:
        self._key = key
        self._seed = seed
        self._sizes = sizes
        self._corrects = corrects
        self._words = pack_words(key)
        self._passes: list[Pass] = []
        self._confirmation: Confirmation | None = None
        self._corrected = np.zeros(len(key), bool)
        self.corrected_bits = 0

    def steps(self) -> Steps:
        """Yield own parities; take a 1 for each that differs.

        Raises:
            ProtocolError: the differences contradict each other.
        """
        for number, size in enumerate(self._sizes):
            yield from self._open(number, size)
            yield from self._settle()
        for number in range(MAX_CONFIRMATIONS):
            if (yield from self._confirm(len(self._sizes) + number)):
                self._finish()
                return
        raise ProtocolError("reconciliation does not end within its passes")

    def wipe(self) -> None:
        """Overwrite what was computed from the key."""
        self._words.fill(0)
        for each in self._passes:
            each.wipe()

    def _open(self, number: int, size: int) -> Steps:
        fresh = BestPass(self._words, len(self._key), self._seed, number, size)
        self._passes.append(fresh)
        fresh.cut((yield fresh.parities()))

    def _settle(self) -> Steps:
        """Search until no block is odd, in the earliest pass that has odd ones: they cost least.

        All odd blocks of one pass together never lead to one error twice: they do not overlap.
        """
        while here := next((each for each in self._passes if each.odd_blocks), None):
            self._correct((yield from here.search()), here)

    def _confirm(self, number: int) -> Generator[Bits, Bits, bool]:
        """Compare random halves of the key; find what they show; return if they showed nothing."""
        fresh = self._confirmation = Confirmation(len(self._key), self._seed, number)
        fresh.odd = (yield fresh.parities(self._words)).copy()
        clean = not fresh.odd.any()
        while fresh.odd.any():
            place = yield from fresh.search(self._words)
            self._correct(np.array([place], np.int32))
            yield from self._settle()
        return clean

    def _finish(self) -> None:
        if self._corrects:
            self._key ^= self._corrected.view(np.uint8)

    def _correct(self, places: NDArray[np.int32], searched: Pass | None = None) -> None:
        # A search of true parities ends at a true error, so no place comes up twice.
        if self._corrected[places].any():
            raise ProtocolError("reconciliation does not converge: the parities contradict")
        self._corrected[places] = True
        self.corrected_bits += len(places)
        for each in self._passes:
            each.change(places, toggles=each is not searched, flips=self._corrects)
        if self._confirmation:
            self._confirmation.change(places)
