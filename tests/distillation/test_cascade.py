"""Cascade: corrects, leaks little, and the emitter's side stays within bounds."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from qkd_hal.distillation import cascade_search
from qkd_hal.distillation.bits import pack_bits
from qkd_hal.distillation.cascade import CascadeOracle, CascadeReconciler
from qkd_hal.distillation.cascade_masks import CONFIRMING_PARITIES as CONFIRMING
from qkd_hal.distillation.cascade_numpy import NumpyPass
from qkd_hal.distillation.cascade_variants import LOW_LEAK, ORIGINAL, QUICK, YANETAL, Variant
from qkd_hal.distillation.finite_key import binary_entropy
from qkd_hal.distillation.reconciliation import ParityQuery
from qkd_hal.errors import ProtocolError

Keys = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def noisy_keys(bits: int, rate: float, seed: int) -> Keys:
    random = np.random.default_rng(seed)
    key = random.integers(0, 2, bits, dtype=np.uint8)
    return key, key ^ (random.random(bits) < rate).astype(np.uint8)


def exchange(oracle: CascadeOracle, reconciler: CascadeReconciler) -> Iterator[ParityQuery]:
    """Yield the questions, on their way."""
    query: ParityQuery | None = reconciler.begin()
    while query is not None:
        yield query
        query = reconciler.answer(oracle.answer(ParityQuery.from_bytes(query.to_bytes())))


def reconcile(
    keys: Keys, rate: float, seed: int = 1, variant: Variant = YANETAL
) -> tuple[int, list[ParityQuery]]:
    """Correct the second key in place; return leaked bits and the questions."""
    shuffle = seed.to_bytes(16, "big")
    oracle = CascadeOracle(keys[0], shuffle, 4 * len(keys[0]) + 1000)
    sizes = variant.block_sizes(rate, len(keys[0]))
    reconciler = CascadeReconciler(keys[1], shuffle, sizes)
    errors = np.count_nonzero(keys[0] != keys[1])
    queries = list(exchange(oracle, reconciler))
    assert oracle.leaked_bits == sum(map(len, queries))
    if (keys[0] == keys[1]).all():
        assert reconciler.corrected_bits == errors
    return oracle.leaked_bits, queries


def efficiency(bits: int, rate: float, variant: Variant) -> tuple[float, int]:
    keys = noisy_keys(bits, rate, seed=3)
    errors = float((keys[0] != keys[1]).mean())
    leak, queries = reconcile(keys, rate, variant=variant)
    assert (keys[0] == keys[1]).all()
    return leak / (bits * binary_entropy(errors)), len(queries)


@pytest.mark.parametrize(
    ("variant", "rate", "f", "trips"),
    [
        (YANETAL, 0.01, 1.032, 300),
        (YANETAL, 0.03, 1.037, 400),
        (YANETAL, 0.05, 1.048, 500),
        (YANETAL, 0.08, 1.063, 300),
        (LOW_LEAK, 0.01, 1.024, 2500),
        (LOW_LEAK, 0.03, 1.029, 2500),
        (LOW_LEAK, 0.05, 1.041, 3500),
        (LOW_LEAK, 0.08, 1.050, 2500),
        (QUICK, 0.01, 1.069, 120),
        (QUICK, 0.03, 1.052, 180),
        (ORIGINAL, 0.03, 1.165, 120),
    ],
)
def test_efficiency_of_a_large_block(variant: Variant, rate: float, f: float, trips: int) -> None:
    measured, taken = efficiency(300_000, rate, variant)
    assert measured == pytest.approx(f, abs=0.005)
    assert taken <= trips


@pytest.mark.parametrize("rate", [0.01, 0.03, 0.05])
def test_small_blocks_leak_little_and_do_not_fail(rate: float) -> None:
    runs = 60
    leaks = []
    for seed in range(runs):
        keys = noisy_keys(10_000, rate, seed)
        leaks.append(reconcile(keys, rate, seed)[0])
        assert (keys[0] == keys[1]).all()
    assert sum(leaks) <= 1.08 * runs * 10_000 * binary_entropy(rate)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_failures_of_small_blocks_are_rare() -> None:
    failures = 0
    for seed in range(10_000):
        keys = noisy_keys(10_000, 0.03, seed)
        reconcile(keys, 0.03, seed)
        failures += not (keys[0] == keys[1]).all()
    assert failures <= 10  # 0.1 %; the bound is 2^-12


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 400),
    st.floats(0, 0.3),
    st.floats(0, 0.5),
    st.integers(0, 2**32),
    st.sampled_from([ORIGINAL, QUICK, YANETAL, LOW_LEAK]),
)
def test_any_size_and_any_wrong_guess_of_the_rate_ends(
    bits: int, rate: float, guess: float, seed: int, variant: Variant
) -> None:
    keys = noisy_keys(bits, rate, seed)
    before = np.count_nonzero(keys[0] != keys[1])
    reconcile(keys, guess, seed, variant)
    assert np.count_nonzero(keys[0] != keys[1]) <= before


@pytest.mark.parametrize("bits", [1000, 4095, 4096, 4097, 12_345])
@pytest.mark.parametrize("rate", [0.0, 0.03, 0.11])
def test_odd_sizes(bits: int, rate: float) -> None:
    keys = noisy_keys(bits, rate, seed=2)
    reconcile(keys, rate)
    assert (keys[0] == keys[1]).all()


def test_two_errors_that_hide_from_the_first_pass_are_found() -> None:
    keys = noisy_keys(4096, 0, seed=1)
    keys[1][[10, 11]] ^= 1
    reconcile(keys, 0.01)
    assert (keys[0] == keys[1]).all()


def test_errors_that_hide_from_all_passes_are_found_by_random_halves() -> None:
    keys = noisy_keys(1000, 0, seed=1)
    keys[1][[10, 11]] ^= 1
    sizes = [1000, 1000]  # two errors are even in any block of all bits
    reconciler = CascadeReconciler(keys[1], bytes(16), sizes)
    list(exchange(CascadeOracle(keys[0], bytes(16), 1000), reconciler))
    assert (keys[0] == keys[1]).all()
    assert reconciler.corrected_bits == 2


def test_equal_keys_cost_one_parity_per_block() -> None:
    keys = noisy_keys(65_536, 0, seed=1)
    leak, queries = reconcile(keys, 0.01)
    assert len(queries) == 3 + 1
    assert leak == 65_536 // 128 + 65_536 // 256 + 65_536 // 8192 + CONFIRMING


def test_a_parity_costs_a_bit_each_way() -> None:
    _, queries = reconcile(noisy_keys(10_000, 0.03, seed=1), 0.03)
    assert struct.unpack(">3I", queries[0].body) == (32, 128, 5000)
    for before, query in itertools.pairwise(queries):
        assert len(query.body) == -(-len(before) // 8)


@pytest.mark.parametrize("kernels", ["any", "numpy"])
def test_questions_are_pinned(kernels: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Both ends compute these on their own machines; a change breaks every link in service.
    if kernels == "numpy":
        monkeypatch.setattr(cascade_search, "BestPass", NumpyPass)
    keys = np.zeros(5000, np.uint8), np.zeros(5000, np.uint8)
    keys[1][[(7 * i * i + 3) % 5000 for i in range(150)]] = 1
    leak, queries = reconcile(keys, 0.03)
    assert (leak, len(queries)) == (994, 86)
    assert [query.body.hex() for query in queries[10:14]] == [
        "ce9600",
        "828380",
        "1b1200",
        "ae16c0",
    ]


def test_the_oracle_answers_parities() -> None:
    key = np.array([1, 0, 1, 1, 0, 1, 0, 0], np.uint8)
    oracle = CascadeOracle(key, bytes(16), 8)
    assert oracle.answer(opening(3, count=3)).tolist() == [0, 0, 0]
    assert oracle.answer(question(2, [1, 0, 1])).tolist() == [1, 0]  # of places 0 and 6
    assert oracle.leaked_bits == 5


def opening(*sizes: int, count: int) -> ParityQuery:
    return ParityQuery(count, struct.pack(f">{len(sizes)}I", *sizes))


def question(count: int, marks: list[int]) -> ParityQuery:
    return ParityQuery(count, pack_bits(np.array(marks, np.uint8)))


@pytest.mark.parametrize(
    "query",
    [
        ParityQuery(2, b""),
        ParityQuery(2, b"\0\0\0"),
        ParityQuery(2, b"\0\0\0\4\0"),
        opening(4, 0, count=2),
        opening(4, 4, 4, 4, 4, count=2),
        opening(4, count=1),
        opening(4, count=3),
    ],
)
def test_malformed_first_questions_are_refused(query: ParityQuery) -> None:
    oracle = CascadeOracle(np.zeros(8, np.uint8), bytes(16), 8)
    with pytest.raises(ProtocolError):
        oracle.answer(query)
    assert oracle.leaked_bits == 0


@pytest.mark.parametrize(
    "query",
    [
        ParityQuery(1, b""),
        ParityQuery(1, b"\x80\0"),
        ParityQuery(1, b"\xa0"),
        question(2, [1, 0]),
        question(1, [0, 0]),
    ],
)
def test_malformed_later_questions_are_refused(query: ParityQuery) -> None:
    oracle = CascadeOracle(np.zeros(8, np.uint8), bytes(16), 30)
    oracle.answer(opening(4, count=2))
    with pytest.raises(ProtocolError):
        oracle.answer(query)
    assert oracle.leaked_bits == 2


def test_questions_after_the_last_are_refused() -> None:
    oracle = CascadeOracle(np.zeros(8, np.uint8), bytes(16), 30)
    oracle.answer(opening(4, count=2))
    oracle.answer(question(CONFIRMING, [0, 0]))
    with pytest.raises(ProtocolError, match="after the last"):
        oracle.answer(question(1, [0] * CONFIRMING))


def test_the_oracle_never_answers_more_than_its_bound() -> None:
    oracle = CascadeOracle(np.zeros(8, np.uint8), bytes(16), 2 + CONFIRMING - 1)
    oracle.answer(opening(4, count=2))
    with pytest.raises(ProtocolError, match="more parities"):
        oracle.answer(question(CONFIRMING, [0, 0]))
    assert oracle.leaked_bits == 2


def test_lies_end_in_an_error_not_in_a_loop() -> None:
    keys = noisy_keys(2000, 0.02, seed=1)
    reconciler = CascadeReconciler(keys[1], bytes(16), [64, 128])
    lies = np.random.default_rng(1)

    def lie() -> None:
        query: ParityQuery | None = reconciler.begin()
        while query is not None:
            query = reconciler.answer(lies.integers(0, 2, len(query), dtype=np.uint8))

    with pytest.raises(ProtocolError, match="contradict"):
        lie()


@pytest.mark.parametrize(("bound", "end"), [(2000, "contradict"), (150, "more parities")])
def test_a_detector_that_lies_gets_an_error_and_no_more_than_the_bound(
    bound: int, end: str
) -> None:
    keys = noisy_keys(2000, 0.5, seed=1)
    oracle = CascadeOracle(keys[0], bytes(16), bound)
    liar = CascadeReconciler(keys[1], bytes(16), [16, 32])
    lies = np.random.default_rng(1)

    def lie() -> None:
        query = liar.begin()
        while True:
            marks = lies.integers(0, 2, len(oracle.answer(query)), dtype=np.uint8)
            try:
                query = liar.answer(liar._mine ^ marks) or query
            except ProtocolError:  # the liar notices first, and goes on
                query = ParityQuery(1, pack_bits(marks))

    with pytest.raises(ProtocolError, match=end):
        lie()
    assert oracle.leaked_bits <= bound


@pytest.mark.parametrize("count", [1, 3])
def test_answers_of_another_length_are_refused(count: int) -> None:
    reconciler = CascadeReconciler(np.zeros(8, np.uint8), bytes(16), [4])
    assert len(reconciler.begin()) == 2
    with pytest.raises(ProtocolError, match="another question"):
        reconciler.answer(np.zeros(count, np.uint8))


def test_confirmations_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cascade_search, "MAX_CONFIRMATIONS", 1)
    keys = noisy_keys(1000, 0, seed=1)
    keys[1][[10, 11]] ^= 1
    reconciler = CascadeReconciler(keys[1], bytes(16), [1000])
    with pytest.raises(ProtocolError, match="does not end"):
        list(exchange(CascadeOracle(keys[0], bytes(16), 1000), reconciler))


def test_wiping_leaves_nothing_computed_from_the_key() -> None:
    keys = noisy_keys(500, 0.02, seed=1)
    oracle = CascadeOracle(keys[0], bytes(16), 5000)
    reconciler = CascadeReconciler(keys[1], bytes(16), [32, 64, 128])
    list(exchange(oracle, reconciler))
    assert oracle._search is not None
    searches = (oracle._search, reconciler._search)
    wipes: list[Callable[[], None]] = [oracle.wipe, reconciler.wipe]
    for wipe in wipes:
        wipe()
    for search in searches:
        assert not search._words.any()
        assert len(search._passes) == 3
        assert not any(each.bits.any() for each in search._passes)
