"""The public orders of passes: permutations, alike at both ends, from compiled code or numpy."""

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

PASSES = [NumpyPass, NativePass] if AVAILABLE else [NumpyPass]
SEED = bytes(range(16))


def order(kind: type[Pass], length: int, number: int, seed: bytes = SEED) -> NDArray[np.int32]:
    """Return where each place comes, by asking for all places of blocks of one."""
    one = kind(pack_words(np.zeros(length, np.uint8)), length, seed, number, 1)
    one.cut(np.ones(length, np.uint8))
    search = one.search()
    with pytest.raises(StopIteration) as end:
        next(search)
    places: NDArray[np.int32] = end.value.value
    return places


@pytest.mark.parametrize("kind", PASSES)
@pytest.mark.parametrize("length", [1, 2, 63, 64, 65, 1001, 5000])
@pytest.mark.parametrize("number", [1, 2])
def test_every_place_comes_once(kind: type[Pass], length: int, number: int) -> None:
    assert sorted(order(kind, length, number).tolist()) == list(range(length))


@pytest.mark.parametrize("kind", PASSES)
def test_orders_differ_by_pass_and_seed(kind: type[Pass]) -> None:
    orders = [order(kind, 1001, *which) for which in ((1, SEED), (2, SEED), (1, bytes(16)))]
    assert (order(kind, 1001, 0) == np.arange(1001)).all()
    for one, two in ((0, 1), (0, 2), (1, 2)):
        assert np.count_nonzero(orders[one] == orders[two]) < 20


@pytest.mark.parametrize("kind", PASSES)
def test_orders_are_pinned(kind: type[Pass]) -> None:
    # Both ends compute these on their own machines; a change breaks every link in service.
    assert order(kind, 12, 1).tolist() == PINNED[0]
    assert order(kind, 10_000, 2)[:8].tolist() == PINNED[1]


PINNED = [[3, 11, 2, 1, 9, 10, 6, 0, 7, 5, 4, 8], [2934, 4385, 7823, 2744, 5763, 3686, 9510, 5209]]


@pytest.mark.parametrize("kind", PASSES)
@settings(max_examples=40, deadline=None)
@given(st.integers(1, 20_000), st.integers(0, 2**32))
def test_bits_and_places_go_the_same_way(kind: type[Pass], length: int, seed: int) -> None:
    key = np.random.default_rng(seed).integers(0, 2, length, dtype=np.uint8)
    one = kind(pack_words(key), length, SEED, 1, 1)
    assert (one.parities() == key[order(kind, length, 1)]).all()


@pytest.mark.parametrize("kind", PASSES)
def test_neighbours_are_far_apart(kind: type[Pass]) -> None:
    """Two errors of one block of 32 are in one block of 128 as rarely as by chance."""
    length = 100_000
    ranks = np.argsort(order(kind, length, 1))
    together = sum(
        int(np.count_nonzero(ranks[:-gap] // 128 == ranks[gap:] // 128)) for gap in range(1, 32)
    )
    assert together == pytest.approx(31 * 128, rel=0.15)
