"""A pass of Cascade with compiled inner loops.

Addresses of the arrays that a pass keeps are taken, and checked, once: a round trip of a few
questions costs little more than its call.
"""

from __future__ import annotations

from ctypes import c_int64, c_void_p
from typing import TYPE_CHECKING

import numpy as np

from qkd_hal.distillation.cascade_pass import Pass
from qkd_hal.distillation.native import array, bind

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Bits = NDArray[np.uint8]
    Places = NDArray[np.int32]
    Words = NDArray[np.uint64]

__all__ = ["NativePass"]

_WORDS, _OUT_WORDS = array(np.uint64), array(np.uint64, out=True)
_BITS, _OUT_BITS = array(np.uint8), array(np.uint8, out=True)
_RANKS, _OUT_RANKS = array(np.int32), array(np.int32, out=True)
_GRID = (c_int64, c_int64, c_int64, c_void_p, c_void_p)

_block_parities = bind("cascade_block_parities", _WORDS, c_int64, c_int64, _OUT_BITS)
_cut = bind("cascade_cut", c_int64, c_int64, _BITS, c_void_p, c_void_p)
_take_odd = bind("cascade_take_odd", c_void_p, c_void_p, c_int64, c_void_p)
_halve = bind("cascade_halve", c_int64, *[c_void_p] * 5, result=c_int64)
_places = bind("cascade_places", c_int64, c_void_p, *_GRID)
_change = bind(
    "cascade_change",
    *(c_int64, _RANKS, *_GRID, c_void_p, c_int64, c_void_p, c_int64, c_void_p),
    result=c_int64,
)
_shuffle = bind("cascade_shuffle", _WORDS, *_GRID, _OUT_WORDS, _OUT_WORDS)


class NativePass(Pass):
    """See :class:`.cascade_pass.Pass`."""

    def __init__(self, words: Words, length: int, seed: bytes, number: int, size: int) -> None:
        super().__init__(words, length, seed, number, size)
        self._bits_at = _OUT_WORDS.from_param(self.bits)
        self._edges_at = _OUT_WORDS.from_param(self._edges)
        self._odd_at = _OUT_WORDS.from_param(self._odd)
        self._grid_at = self._grid_arguments()

    def parities(self) -> Bits:
        """Return this end's parities of consecutive blocks."""
        parities = np.empty(-(-self._length // self._size), np.uint8)
        _block_parities(self.bits, self._length, self._size, parities)
        return parities

    def _shuffled(self, words: Words) -> Words:
        work, shuffled = np.empty_like(words), np.zeros_like(words)
        _shuffle(words, *self._grid_arguments(), work, shuffled)
        work.fill(0)
        return shuffled

    def _cut(self, marks: Bits) -> None:
        _cut(self._length, self._size, marks, self._edges_at, self._odd_at)

    def _take_odd(self) -> None:
        count = self.odd_blocks
        ranks = np.empty((2, count), np.int32)
        self._low, self._high = ranks
        self._halves = np.empty(count, np.uint8)
        self._ranks_at = _OUT_RANKS.from_param(ranks)
        self._halves_at = _OUT_BITS.from_param(self._halves)
        _take_odd(self._odd_at, self._edges_at, count, self._ranks_at)

    def _halve(self, marks: Bits | None) -> Bits:
        asked = _halve(
            len(self._low),
            self._ranks_at,
            None if marks is None else _BITS.from_param(marks),
            self._edges_at,
            self._bits_at,
            self._halves_at,
        )
        return self._halves[:asked].copy()

    def _found(self) -> Places:
        _places(len(self._low), self._ranks_at, *self._grid_at)
        return self._low

    def _change(self, places: Places, toggles: bool, flips: bool) -> int:
        count = len(places)
        more: int = _change(
            *(count, places, *self._grid_at),
            *(self._edges_at, toggles, self._odd_at, flips, self._bits_at),
        )
        return more

    def _grid_arguments(self) -> tuple[object, ...]:
        by = self._grid
        tables = (_RANKS.from_param(by.of_rows), _RANKS.from_param(by.of_columns))
        return by.length, by.rows, by.columns, *tables
