"""Sets of half-open byte ranges: which parts of a block may still be taken."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["RangeSet"]


class RangeSet:
    """Disjoint ``[start, end)`` ranges in rising order. Offsets are bytes into a block."""

    __slots__ = ("_ends", "_starts")

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        for start, end in ranges:
            self.add(start, end)

    def add(self, start: int, end: int) -> None:
        """Add ``[start, end)``, which must not overlap what is there; neighbours merge."""
        at = bisect_right(self._starts, start)
        overlaps_left = at > 0 and self._ends[at - 1] > start
        overlaps_right = at < len(self._starts) and self._starts[at] < end
        if start >= end or overlaps_left or overlaps_right:
            raise ValueError(f"[{start}, {end}) is empty or overlaps {list(self)}")
        self._starts.insert(at, start)
        self._ends.insert(at, end)
        self._merge(at)
        self._merge(at - 1)

    def _merge(self, at: int) -> None:
        if 0 <= at < len(self._starts) - 1 and self._ends[at] == self._starts[at + 1]:
            del self._ends[at], self._starts[at + 1]

    def remove(self, start: int, end: int) -> bool:
        """Remove ``[start, end)`` if every byte of it is in the set; else change nothing."""
        at = bisect_right(self._starts, start) - 1
        if at < 0 or start >= end or end > self._ends[at]:
            return False
        left, right = self._starts[at], self._ends[at]
        pieces = [piece for piece in ((left, start), (end, right)) if piece[0] < piece[1]]
        self._starts[at : at + 1] = [piece[0] for piece in pieces]
        self._ends[at : at + 1] = [piece[1] for piece in pieces]
        return True

    def cut(self, start: int) -> None:
        """Remove everything from *start* on."""
        for left, right in [pair for pair in self if pair[1] > start]:
            self.remove(max(left, start), right)

    @property
    def total(self) -> int:
        """Bytes in the set."""
        return sum(self._ends) - sum(self._starts)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._starts, self._ends, strict=True)

    def __bool__(self) -> bool:
        return bool(self._starts)
