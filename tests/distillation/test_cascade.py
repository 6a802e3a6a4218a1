"""Cascade: corrects, leaks little, and the emitter's side stays within bounds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from qkd_hal.distillation.cascade import (
    FULL_PASSES,
    MAX_PASSES,
    CascadeOracle,
    CascadeReconciler,
    PassOrders,
)
from qkd_hal.distillation.finite_key import binary_entropy
from qkd_hal.distillation.reconciliation import ParityQuery
from qkd_hal.errors import ProtocolError

Keys = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def noisy_keys(bits: int, rate: float, seed: int) -> Keys:
    random = np.random.default_rng(seed)
    key = random.integers(0, 2, bits, dtype=np.uint8)
    return key, key ^ (random.random(bits) < rate).astype(np.uint8)


def reconcile(keys: Keys, rate: float, seed: int = 1) -> tuple[int, int]:
    """Correct the second key in place; return (leaked bits, round trips)."""
    shuffle = seed.to_bytes(16, "big")
    oracle = CascadeOracle(keys[0], shuffle, 4 * len(keys[0]) + 200)
    reconciler = CascadeReconciler(keys[1], shuffle, rate)
    errors = np.count_nonzero(keys[0] != keys[1])
    query: ParityQuery | None = reconciler.begin()
    trips = 0
    while query is not None:
        trips += 1
        query = reconciler.answer(oracle.answer(query))
    if (keys[0] == keys[1]).all():
        assert reconciler.corrected_bits == errors
    return oracle.leaked_bits, trips


@pytest.mark.parametrize("rate", [0.01, 0.03, 0.05, 0.08])
def test_efficiency_of_a_large_block(rate: float) -> None:
    keys = noisy_keys(200_000, rate, seed=3)
    leak, trips = reconcile(keys, rate)
    assert (keys[0] == keys[1]).all()
    assert leak <= 1.10 * len(keys[0]) * binary_entropy(rate)
    assert trips < 500


@pytest.mark.parametrize("rate", [0.01, 0.03, 0.05])
def test_small_blocks_leak_little_and_do_not_fail(rate: float) -> None:
    runs = 20
    leaks = []
    for seed in range(runs):
        keys = noisy_keys(10_000, rate, seed)
        leaks.append(reconcile(keys, rate, seed)[0])
        assert (keys[0] == keys[1]).all()
    assert sum(leaks) <= 1.2 * runs * 10_000 * binary_entropy(rate)


@pytest.mark.slow
def test_failures_of_small_blocks_are_rare() -> None:
    failures = 0
    for seed in range(1000):
        keys = noisy_keys(10_000, 0.02, seed)
        reconcile(keys, 0.02, seed)
        failures += not (keys[0] == keys[1]).all()
    assert failures <= 5


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 400), st.floats(0, 0.3), st.floats(0, 0.5), st.integers(0, 2**32))
def test_any_size_and_any_wrong_guess_of_the_rate_ends(
    bits: int, rate: float, guess: float, seed: int
) -> None:
    keys = noisy_keys(bits, rate, seed)
    before = np.count_nonzero(keys[0] != keys[1])
    reconcile(keys, guess, seed)
    assert np.count_nonzero(keys[0] != keys[1]) <= before


def test_two_errors_that_hide_from_the_first_pass_are_found() -> None:
    keys = noisy_keys(4096, 0, seed=1)
    keys[1][[10, 11]] ^= 1
    reconcile(keys, 0.01)
    assert (keys[0] == keys[1]).all()


def test_equal_keys_cost_one_parity_per_block() -> None:
    keys = noisy_keys(8192, 0, seed=1)
    leak, trips = reconcile(keys, 0.8 / 64)
    assert trips == FULL_PASSES + 1
    assert leak == 8192 // 64 + 8192 // 256 + 8192 // 2048 + 10


@pytest.mark.parametrize("number", range(5))
def test_pass_orders(number: int) -> None:
    orders = PassOrders(1001, b"s" * 16)
    order = orders.order(number)
    assert len(order) == len(set(order.tolist())) == orders.length(number)
    assert order.min() >= 0
    assert order.max() < 1001
    assert (order == PassOrders(1001, b"s" * 16).order(number)).all()
    if number:
        assert (order != PassOrders(1001, b"t" * 16).order(number)).any()
        assert len(order) != 1001 or (order != orders.order(3 - number)).any()


def test_pass_orders_are_pinned() -> None:
    # Both ends compute these on their own machines; a change breaks every link in service.
    orders = PassOrders(8, bytes(range(16)))
    assert [orders.order(n).tolist() for n in range(5)] == PINNED


PINNED = [
    [0, 1, 2, 3, 4, 5, 6, 7],
    [7, 4, 2, 0, 6, 5, 1, 3],
    [7, 0, 3, 5, 1, 2, 6, 4],
    [0, 2, 5, 7],
    [0, 1, 2, 4],
]


def ranges(*each: tuple[int, int, int]) -> ParityQuery:
    passes, starts, stops = zip(*each, strict=True)
    return ParityQuery(np.array(passes, np.uint8), np.array(starts), np.array(stops))


def test_the_oracle_answers_parities() -> None:
    key = np.array([1, 0, 1, 1, 0, 1, 0, 0], np.uint8)
    oracle = CascadeOracle(key, bytes(16), 8)
    answers = oracle.answer(ranges((0, 0, 8), (0, 2, 4), (1, 0, 8), (0, 5, 6)))
    assert answers.tolist() == [0, 0, 0, 1]
    assert oracle.leaked_bits == 4
    half = PassOrders(8, bytes(16)).order(3)
    assert oracle.answer(ranges((3, 0, 4))) == [key[half].sum() % 2]


@pytest.mark.parametrize(
    "query",
    [(0, 4, 4), (0, 5, 4), (0, 0, 9), (3, 0, 5), (MAX_PASSES, 0, 2), (255, 0, 2)],
)
def test_ranges_outside_the_key_are_refused(query: tuple[int, int, int]) -> None:
    oracle = CascadeOracle(np.zeros(8, np.uint8), bytes(16), 8)
    with pytest.raises(ProtocolError):
        oracle.answer(ranges((0, 0, 1), query))


def test_the_oracle_never_answers_more_than_its_bound() -> None:
    oracle = CascadeOracle(np.zeros(8, np.uint8), bytes(16), 3)
    oracle.answer(ranges((0, 0, 1), (0, 0, 1)))
    with pytest.raises(ProtocolError, match="more parities"):
        oracle.answer(ranges((0, 0, 1), (0, 0, 1)))


def test_lies_end_in_an_error_not_in_a_loop() -> None:
    keys = noisy_keys(2000, 0.02, seed=1)
    reconciler = CascadeReconciler(keys[1], bytes(16), 0.02)
    lies = np.random.default_rng(1)

    def lie() -> None:
        query: ParityQuery | None = reconciler.begin()
        while query is not None:
            query = reconciler.answer(lies.integers(0, 2, len(query), dtype=np.uint8))

    with pytest.raises(ProtocolError, match="contradict"):
        lie()


def test_passes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qkd_hal.distillation.cascade.MAX_PASSES", FULL_PASSES + 9)
    with pytest.raises(ProtocolError, match="passes"):
        reconcile(noisy_keys(2000, 0.02, seed=1), 0.02)


def test_wiping_leaves_nothing_computed_from_the_key() -> None:
    keys = noisy_keys(500, 0.02, seed=1)
    oracle = CascadeOracle(keys[0], bytes(16), 5000)
    reconciler = CascadeReconciler(keys[1], bytes(16), 0.02)
    reconciler.answer(oracle.answer(reconciler.begin()))
    wipes: list[Callable[[], None]] = [oracle.wipe, reconciler.wipe]
    for wipe in wipes:
        wipe()
    assert not any(prefix.any() for prefix in oracle._prefixes.values())
    assert not any(each._prefix.any() for each in reconciler._passes)


@given(st.lists(st.tuples(*[st.integers(0, 2**k - 1) for k in (8, 32, 32)]), min_size=1))
def test_queries_come_back_from_the_wire(each: list[tuple[int, int, int]]) -> None:
    query = ranges(*each)
    back = ParityQuery.from_bytes(query.to_bytes())
    for one, two in ((query.passes, back.passes), (query.starts, back.starts)):
        assert (one == two).all()
    assert (query.stops == back.stops).all()


def test_query_bytes_are_golden() -> None:
    raw = ranges((1, 2, 3), (4, 5, 0x01020304)).to_bytes()
    assert raw.hex(" ", 1) == "01 04 00 00 00 02 00 00 00 05 00 00 00 03 01 02 03 04"


@pytest.mark.parametrize("size", [0, 1, 8, 10, 19])
def test_malformed_queries_are_refused(size: int) -> None:
    with pytest.raises(ProtocolError):
        ParityQuery.from_bytes(bytes(size))
