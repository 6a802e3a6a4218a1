"""Range sets against a plain set of bytes."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from qkd_hal.link import RangeSet

ENDS = st.integers(0, 40)


class Ranges(RuleBasedStateMachine):
    """The model is a set of integers."""

    def __init__(self) -> None:
        super().__init__()
        self.ranges = RangeSet()
        self.model: set[int] = set()

    @rule(start=ENDS, end=ENDS)
    def add(self, start: int, end: int) -> None:
        wanted = set(range(start, end))
        if not wanted or wanted & self.model:
            with pytest.raises(ValueError, match="overlaps"):
                self.ranges.add(start, end)
        else:
            self.ranges.add(start, end)
            self.model |= wanted

    @rule(start=ENDS, end=ENDS)
    def remove(self, start: int, end: int) -> None:
        wanted = set(range(start, end))
        whole = bool(wanted) and wanted <= self.model
        assert self.ranges.remove(start, end) is whole
        if whole:
            self.model -= wanted

    @rule(start=ENDS)
    def cut(self, start: int) -> None:
        self.ranges.cut(start)
        self.model = {at for at in self.model if at < start}

    @invariant()
    def same(self) -> None:
        assert {at for start, end in self.ranges for at in range(start, end)} == self.model
        assert self.ranges.total == len(self.model)
        assert bool(self.ranges) is bool(self.model)

    @invariant()
    def disjoint_and_merged(self) -> None:
        pairs = list(self.ranges)
        assert all(one[1] < other[0] for one, other in pairwise(pairs))


test_ranges = Ranges.TestCase
