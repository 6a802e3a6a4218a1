"""A pass of Cascade in numpy: the reference, and what works where nothing was compiled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qkd_hal.distillation.cascade_pass import Pass

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from qkd_hal.distillation.cascade_shuffle import Grid

    Bits = NDArray[np.uint8]
    Places = NDArray[np.int32]
    Words = NDArray[np.uint64]
    Indices = NDArray[np.int64]

__all__ = ["NumpyPass"]

_AT_ONCE = 1 << 16  # places: what is computed for them stays in a processor's cache
_ONE = np.uint64(1)
_LOW_SIX = np.int64(63)


class NumpyPass(Pass):
    """See :class:`.cascade_pass.Pass`."""

    def parities(self) -> Bits:
        """Return this end's parities of consecutive blocks."""
        starts = np.arange(0, self._length, self._size)
        return _parities(self.bits, starts, np.minimum(starts + self._size, self._length))

    def _shuffled(self, words: Words) -> Words:
        octets = words.astype("<u8").view(np.uint8)
        key = np.unpackbits(octets, count=self._length, bitorder="little")
        shuffled = np.zeros(64 * len(words), np.uint8)
        for first in range(0, self._length, _AT_ONCE):
            places = np.arange(first, min(first + _AT_ONCE, self._length))
            shuffled[_walk(_forwards, places, self._grid)] = key[places]
        packed = np.packbits(shuffled, bitorder="little").view("<u8").astype(np.uint64)
        for secret in (octets, key, shuffled):
            secret.fill(0)
        return packed

    def _cut(self, marks: Bits) -> None:
        starts = np.arange(0, self._length, self._size)
        _flip(self._edges, np.append(starts, self._length))
        _flip(self._odd, starts[marks != 0])

    def _take_odd(self) -> None:
        low, edges = _members(self._odd), _members(self._edges)
        self._odd.fill(0)
        self._low = low.astype(np.int32)
        self._high = edges[np.searchsorted(edges, low) + 1].astype(np.int32)

    def _halve(self, marks: Bits | None) -> Bits:
        low, high = self._low, self._high
        wide, middle = self._halves()
        if marks is not None:
            _flip(self._edges, middle)
            left = marks != 0
            high[wide[left]] = middle[left]
            low[wide[~left]] = middle[~left]
            wide, middle = self._halves()
        return _parities(self.bits, low[wide].astype(np.int64), middle)

    def _halves(self) -> tuple[Indices, Indices]:
        """Return which of the searched blocks have halves, and where these meet."""
        wide = np.flatnonzero(self._high - self._low > 1)
        low, high = self._low[wide].astype(np.int64), self._high[wide]
        return wide, low + (high - low) // 2

    def _found(self) -> Places:
        return _walk(_backwards, self._low.astype(np.int64), self._grid).astype(np.int32)

    def _change(self, places: Places, toggles: bool, flips: bool) -> int:
        ranks = _walk(_forwards, places.astype(np.int64), self._grid)
        if flips:
            _flip(self.bits, ranks)
        return self._toggle(ranks) if toggles else 0

    def _toggle(self, ranks: Indices) -> int:
        edges = _members(self._edges)
        blocks, times = np.unique(np.searchsorted(edges, ranks, side="right"), return_counts=True)
        changed = edges[blocks[times % 2 == 1] - 1]
        were_odd = self._odd[changed >> 6] >> (changed & _LOW_SIX).astype(np.uint64) & _ONE
        _flip(self._odd, changed)
        return len(changed) - 2 * int(np.count_nonzero(were_odd))


def _walk(step: Callable[[Indices, Grid], Indices], at: Indices, grid: Grid) -> Indices:
    """Step until inside the key: where a place, or a rank, goes."""
    if not grid.rows:
        return at
    at = step(at, grid)
    while len(outside := np.flatnonzero(at >= grid.length)):
        at[outside] = step(at[outside], grid)
    return at


def _forwards(places: Indices, grid: Grid) -> Indices:
    row_to, _, row_turn = grid.of_rows.astype(np.int64)
    column_to, _, column_turn = grid.of_columns.astype(np.int64)
    rows, columns = np.divmod(places, grid.columns)
    columns = (columns + row_turn[rows]) % grid.columns
    rows = (row_to[rows] + column_turn[columns]) % grid.rows
    ranks: Indices = rows * grid.columns + column_to[columns]
    return ranks


def _backwards(ranks: Indices, grid: Grid) -> Indices:
    _, row_back, row_turn = grid.of_rows.astype(np.int64)
    _, column_back, column_turn = grid.of_columns.astype(np.int64)
    rows, columns = np.divmod(ranks, grid.columns)
    columns = column_back[columns]
    rows = row_back[(rows - column_turn[columns]) % grid.rows]
    places: Indices = rows * grid.columns + (columns - row_turn[rows]) % grid.columns
    return places


def _parity(words: Words) -> Bits:
    for width in (32, 16, 8, 4, 2, 1):
        words = words ^ (words >> np.uint64(width))
    return (words & _ONE).astype(np.uint8)


def _parities(bits: Words, starts: Indices, stops: Indices) -> Bits:
    """Return the parities of bits ``[start, stop)``: differences of running ones."""
    running = np.zeros(len(bits) + 1, np.uint8)
    np.bitwise_xor.accumulate(_parity(bits), out=running[1:])
    parities: Bits = _running(bits, running, starts) ^ _running(bits, running, stops)
    running.fill(0)
    return parities


def _running(bits: Words, running: Bits, at: Indices) -> Bits:
    below = (_ONE << (at & _LOW_SIX).astype(np.uint64)) - _ONE
    parities: Bits = running[at >> 6] ^ _parity(bits[at >> 6] & below)
    return parities


def _flip(bits: Words, at: Indices) -> None:
    np.bitwise_xor.at(bits, at >> 6, _ONE << (at & _LOW_SIX).astype(np.uint64))


def _members(bits: Words) -> Indices:
    """Return where *bits* are set, rising."""
    words = np.flatnonzero(bits)
    octets = bits[words].astype("<u8").view(np.uint8)
    at = np.flatnonzero(np.unpackbits(octets, bitorder="little").view(np.bool_))
    members: Indices = words[at >> 6] * 64 + (at & 63)
    return members
