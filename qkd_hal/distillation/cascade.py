"""Cascade, with all pending binary searches in one round trip.

Brassard and Salvail (EUROCRYPT '93), with block sizes that are powers of two and with every
parity ever learned used again, both after Martinez-Mateo et al., QIC 15, 453 (2015). Three
passes have blocks of about 0.8/Q, four and thirty-two times that; random halves of the key
follow, ten at a time, until ten in a row are clean: a key that still has errors passes with
probability 2^-10, and verification catches it.

A pass orders the key's places and cuts that order into blocks. A block is *odd* while the two
ends' parities differ. Searching all odd blocks of one pass together never finds an error
twice, since blocks of a pass do not overlap.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from qkd_hal.distillation.reconciliation import ParityQuery
from qkd_hal.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Generator

    from numpy.typing import NDArray

__all__ = ["CascadeOracle", "CascadeReconciler", "PassOrders"]

FULL_PASSES = 3  # natural order and two shuffles; later passes are random halves
CONFIRMING_PASSES = 10
MAX_PASSES = 64  # honest runs need two or three dozen; each costs both ends memory
_LOWEST_QBER = 1e-4  # a block size for a key without a single test error
_ERRORS_PER_BLOCK = 0.8  # in the first pass, on average
_GROWTH = (1, 4, 32)  # of blocks, pass by pass: measured best of leak times round trips


class PassOrders:
    """The public order of places in each pass, the same at both ends from one seed.

    Built on the Philox bit stream alone, which numpy keeps stable (NEP 19), unlike the
    methods of its Generator.
    """

    def __init__(self, size: int, seed: bytes) -> None:
        self._size = size
        self._seed = int.from_bytes(seed, "big")

    def length(self, number: int) -> int:
        """Return how many places pass *number* covers."""
        return self._size if number < FULL_PASSES else self._size // 2

    def order(self, number: int) -> NDArray[np.int64]:
        """Return the places of pass *number*: all of them, or a random half in rising order."""
        if number == 0:
            return np.arange(self._size)
        shuffled = self._random_words(number) << np.uint64(32) | np.arange(
            self._size, dtype=np.uint64
        )
        half = self.length(number)
        if half < self._size:
            return np.sort((np.partition(shuffled, half)[:half] & 0xFFFFFFFF).astype(np.int64))
        return (np.sort(shuffled) & 0xFFFFFFFF).astype(np.int64)

    def _random_words(self, number: int) -> NDArray[np.uint64]:
        stream = np.random.Philox(key=self._seed, counter=[0, 0, 0, number])
        return stream.random_raw(self._size) >> np.uint64(32)


def _prefix_parities(bits: NDArray[np.uint8]) -> NDArray[np.uint8]:
    prefix = np.zeros(len(bits) + 1, np.uint8)
    np.bitwise_xor.accumulate(bits, out=prefix[1:])
    return prefix


class CascadeOracle:
    """The emitter's side: answers parities of its key, up to a bound.

    *max_bits*: no more parities than this are ever revealed.
    """

    def __init__(self, key: NDArray[np.uint8], seed: bytes, max_bits: int) -> None:
        self._key = key
        self._orders = PassOrders(len(key), seed)
        self._prefixes: dict[int, NDArray[np.uint8]] = {}
        self._max_bits = max_bits
        self._leaked_bits = 0

    @property
    def leaked_bits(self) -> int:
        """Parities answered so far."""
        return self._leaked_bits

    def answer(self, query: ParityQuery) -> NDArray[np.uint8]:
        """Return one parity per range."""
        self._leaked_bits += len(query)
        if self._leaked_bits > self._max_bits:
            raise ProtocolError("the detector asks for more parities than a key can bear")
        parities = np.empty(len(query), np.uint8)
        for number in np.unique(query.passes).tolist():
            mine = query.passes == number
            parities[mine] = self._answer_pass(number, query.starts[mine], query.stops[mine])
        return parities

    def wipe(self) -> None:
        """Overwrite what was computed from the key."""
        for prefix in self._prefixes.values():
            prefix.fill(0)

    def _answer_pass(
        self, number: int, starts: NDArray[np.int64], stops: NDArray[np.int64]
    ) -> NDArray[np.uint8]:
        if number >= MAX_PASSES:
            raise ProtocolError(f"there is no pass {number}")
        if (starts >= stops).any() or (stops > self._orders.length(number)).any():
            raise ProtocolError("a parity range lies outside the key")
        prefix = self._prefixes.get(number)
        if prefix is None:
            prefix = _prefix_parities(self._key[self._orders.order(number)])
            self._prefixes[number] = prefix
        return prefix[starts] ^ prefix[stops]


class _Pass:
    """The detector's view of one pass: an ever finer cut into blocks of known parity."""

    def __init__(self, order: NDArray[np.int64], key: NDArray[np.uint8], block: int) -> None:
        self.order = order.astype(np.int32)
        self.edges = np.append(np.arange(0, len(order), block), len(order))
        self.odd = np.zeros(len(self.edges) - 1, bool)
        self._prefix = _prefix_parities(key[order])
        self._flipped = np.zeros(0, np.int64)
        self._rank = np.full(len(key), -1, np.int32)
        self._rank[order] = np.arange(len(order), dtype=np.int32)

    def parities(self, starts: NDArray[np.int64], stops: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return this end's parities as of now."""
        since = np.searchsorted(self._flipped, stops) - np.searchsorted(self._flipped, starts)
        return self._prefix[starts] ^ self._prefix[stops] ^ (since & 1).astype(np.uint8)

    def flip(self, places: NDArray[np.int64]) -> None:
        """Note that the key changed at *places*, which toggles their blocks."""
        ranks = np.sort(self._rank[places].astype(np.int64))
        ranks = ranks[ranks >= 0]
        self._flipped = np.insert(self._flipped, np.searchsorted(self._flipped, ranks), ranks)
        np.logical_xor.at(self.odd, self._blocks(ranks), True)

    def cut(self, found: NDArray[np.int64], cuts: list[NDArray[np.int64]]) -> None:
        """Cut where the searches did: of the finer blocks, those with an error *found* are odd."""
        edges = np.sort(np.concatenate([np.zeros(0, np.int64), *cuts]))
        self.edges = np.insert(self.edges, np.searchsorted(self.edges, edges), edges)
        self.odd = np.zeros(len(self.edges) - 1, bool)
        self.odd[self._blocks(found)] = True

    def wipe(self) -> None:
        self._prefix.fill(0)

    def _blocks(self, ranks: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.searchsorted(self.edges, ranks, side="right") - 1


class CascadeReconciler:
    """The detector's side: asks, searches, corrects *key* in place.

    *qber* sets the block sizes; a wrong guess costs efficiency, never correctness.
    """

    def __init__(self, key: NDArray[np.uint8], seed: bytes, qber: float) -> None:
        self._key = key
        self._qber = max(qber, _LOWEST_QBER)
        self._orders = PassOrders(len(key), seed)
        self._passes: list[_Pass] = []
        self._flipped = np.zeros(len(key), bool)
        self._corrected_bits = 0
        self._search = self._run()

    @property
    def corrected_bits(self) -> int:
        """Errors found so far."""
        return self._corrected_bits

    def begin(self) -> ParityQuery:
        """Return the first question."""
        return next(self._search)

    def answer(self, parities: NDArray[np.uint8]) -> ParityQuery | None:
        """Take the parities of the last question; return the next, or None when done."""
        try:
            return self._search.send(parities)
        except StopIteration:
            return None

    def wipe(self) -> None:
        """Overwrite what was computed from the key."""
        for each in self._passes:
            each.wipe()

    def _run(self) -> Generator[ParityQuery, NDArray[np.uint8], None]:
        for size in self._block_sizes():
            yield from self._open([size])
            yield from self._settle()
        half = len(self._key) // 2
        while (yield from self._open([half] * CONFIRMING_PASSES)):
            yield from self._settle()

    def _block_sizes(self) -> list[int]:
        first = 2 ** round(math.log2(_ERRORS_PER_BLOCK / self._qber))
        sizes = [max(2, growth * first) for growth in _GROWTH]
        return [min(size, -(-len(self._key) // 2)) for size in sizes]

    def _open(self, block_sizes: list[int]) -> Generator[ParityQuery, NDArray[np.uint8], bool]:
        """Start passes and compare their blocks; return whether any block is odd."""
        first = len(self._passes)
        if first + len(block_sizes) > MAX_PASSES:
            raise ProtocolError("reconciliation does not end within its passes")
        numbers = range(first, first + len(block_sizes))
        fresh = [
            _Pass(self._orders.order(number), self._key, size)
            for number, size in zip(numbers, block_sizes, strict=True)
        ]
        self._passes += fresh
        counts = [len(each.odd) for each in fresh]
        passes = np.repeat(np.array(numbers, np.uint8), counts)
        starts = np.concatenate([each.edges[:-1] for each in fresh])
        stops = np.concatenate([each.edges[1:] for each in fresh])
        parities = yield ParityQuery(passes, starts, stops)
        for each, theirs in zip(fresh, np.split(parities, np.cumsum(counts)[:-1]), strict=True):
            each.odd = each.parities(each.edges[:-1], each.edges[1:]) != theirs
        return any(each.odd.any() for each in fresh)

    def _settle(self) -> Generator[ParityQuery, NDArray[np.uint8], None]:
        """Search until no known block is odd, smallest blocks first: they cost least."""
        while True:
            numbers = [n for n, each in enumerate(self._passes) if each.odd.any()]
            if not numbers:
                return
            places = yield from self._search_pass(numbers[0])
            self._correct(places)

    def _search_pass(
        self, number: int
    ) -> Generator[ParityQuery, NDArray[np.uint8], NDArray[np.int64]]:
        """Halve all odd blocks of a pass down to one error each; return their places."""
        here = self._passes[number]
        odd = np.flatnonzero(here.odd)
        starts, stops = here.edges[odd], here.edges[odd + 1]
        cuts = []
        while len(wide := np.flatnonzero(stops - starts > 1)):
            left = starts[wide]
            middle = (left + stops[wide]) // 2
            passes = np.full(len(wide), number, np.uint8)
            parities = yield ParityQuery(passes, left, middle)
            wrong = here.parities(left, middle) != parities
            stops[wide[wrong]] = middle[wrong]
            starts[wide[~wrong]] = middle[~wrong]
            cuts.append(middle)
        here.cut(starts, cuts)
        places: NDArray[np.int64] = here.order[starts].astype(np.int64)
        return places

    def _correct(self, places: NDArray[np.int64]) -> None:
        # A search of true parities ends at a true error, so no place comes up twice.
        if self._flipped[places].any():
            raise ProtocolError("reconciliation does not converge: the parities contradict")
        self._flipped[places] = True
        self._key[places] ^= 1
        self._corrected_bits += len(places)
        for each in self._passes:
            each.flip(places)
