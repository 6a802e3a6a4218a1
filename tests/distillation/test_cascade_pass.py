"""The compiled inner loops do what numpy's do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from qkd_hal.distillation.cascade_native import NativePass
from qkd_hal.distillation.cascade_numpy import NumpyPass
from qkd_hal.distillation.cascade_pass import Pass, pack_words
from qkd_hal.distillation.native import AVAILABLE

SEED = bytes(range(16))
KINDS = [NumpyPass, NativePass] if AVAILABLE else [NumpyPass]


class Twins:
    """Both kinds of one pass over one key, told the same; they must say the same."""

    def __init__(self, key: NDArray[np.uint8], number: int, size: int) -> None:
        arguments = (len(key), SEED, number, size)
        self.compiled: Pass = KINDS[-1](pack_words(key), *arguments)
        self.numpy: Pass = NumpyPass(pack_words(key), *arguments)

    def check(self) -> None:
        one, two = self.compiled, self.numpy
        for name in ("bits", "_edges", "_odd"):
            assert (getattr(one, name) == getattr(two, name)).all(), name
        assert one.odd_blocks == two.odd_blocks

    def open(self, random: np.random.Generator) -> None:
        one, two = self.compiled.parities(), self.numpy.parities()
        assert (one == two).all()
        marks = random.integers(0, 2, len(one), dtype=np.uint8)
        self.compiled.cut(marks)
        self.numpy.cut(marks)

    def search(self, random: np.random.Generator) -> NDArray[np.int32]:
        one, two = self.compiled.search(), self.numpy.search()
        marks = None
        while True:
            try:
                asked = one.send(marks)  # type: ignore[arg-type]
            except StopIteration as end:
                places: NDArray[np.int32] = end.value
                break
            assert (asked == two.send(marks)).all()  # type: ignore[arg-type]
            marks = random.integers(0, 2, len(asked), dtype=np.uint8)
        with pytest.raises(StopIteration) as other:
            two.send(marks)  # type: ignore[arg-type]
        assert (places == other.value.value).all()
        return places

    def change(self, places: NDArray[np.int32], *, toggles: bool, flips: bool) -> None:
        for one in (self.compiled, self.numpy):
            one.change(places, toggles=toggles, flips=flips)


@settings(max_examples=80, deadline=None)
@given(
    length=st.integers(1, 3000),
    number=st.integers(0, 3),
    size=st.integers(1, 300),
    flips=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_both_kinds_of_a_pass_agree(
    length: int, number: int, size: int, flips: bool, seed: int
) -> None:
    random = np.random.default_rng(seed)
    twins = Twins(random.integers(0, 2, length, dtype=np.uint8), number, size)
    twins.open(random)
    for _ in range(4):
        twins.check()
        twins.change(twins.search(random), toggles=False, flips=flips)
        some = random.integers(0, length, 20, dtype=np.int32)
        twins.change(some, toggles=True, flips=flips)
    twins.check()


@pytest.mark.parametrize("kind", KINDS)
def test_a_search_ends_at_the_errors(kind: type[Pass]) -> None:
    key = np.zeros(1000, np.uint8)
    wrong = [3, 500, 501, 999]
    key[wrong] = 1  # the other end's key is all zeros, so own parities are the differences
    one = kind(pack_words(key), 1000, SEED, 0, 64)
    one.cut(one.parities())
    assert one.odd_blocks == 2  # the two in the middle share a block
    assert drive(one) == [3, 999]
    assert one.odd_blocks == 0
    one.change(np.array([500], np.int32), toggles=True, flips=True)
    assert one.odd_blocks == 1
    assert drive(one) == [501]


def drive(one: Pass) -> list[int]:
    search = one.search()
    try:
        marks = next(search)
        while True:
            marks = search.send(marks)
    except StopIteration as end:
        return list(end.value.tolist())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("marks", [0, 2])
def test_marks_of_another_number_never_reach_the_loops(kind: type[Pass], marks: int) -> None:
    one = kind(pack_words(np.ones(64, np.uint8)), 64, SEED, 0, 64)
    one.cut(np.ones(1, np.uint8))
    search = one.search()
    next(search)
    with pytest.raises(ValueError, match="marks"):
        one.cut(np.ones(marks, np.uint8))
    with pytest.raises(ValueError, match="marks"):
        search.send(np.zeros(marks, np.uint8))
