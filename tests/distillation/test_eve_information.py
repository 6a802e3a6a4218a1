"""What Eve knows after amplification, computed exactly: every key, every seed, every view.

Eve knows some bits of the key from the light, and the parities that reconciliation leaked. The
key is uniform for her but for these, so its min-entropy is its length less their rank, and the
leftover hash lemma (Tomamichel et al., IEEE Trans. Inf. Theory 57, 2011; here for classical
knowledge, Impagliazzo, Levin, Luby 1989) bounds the distance of the result, seen with the
seed, from uniform: (1/2) sqrt(2^(length - min-entropy)) on average over the seeds.
"""

from __future__ import annotations

import itertools
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from qkd_hal.distillation.stages import Stages

BITS = 8
EPSILON = 0.25  # large enough to see with eight bits

Masks = tuple[int, ...]  # a parity is known for each: of the key's bits that are 1 in the mask


@cache
def results(length: int) -> NDArray[np.int64]:
    """Return what each seed (row) makes of each key (column), by the engine's own stage.

    The stage hashes the keys of one bit; sums of keys have the sums of their results.
    """
    stage, weights = Stages().amplification, 1 << np.arange(length)
    size = stage.seed_bits(BITS, length)
    rows = []
    for seed in bits_of(np.arange(1 << size), size):
        row = np.zeros(1, np.int64)
        for bit in np.eye(BITS, dtype=np.uint8):
            row = np.concatenate([row, row ^ (stage.amplify(bit, seed, length) @ weights)])
        rows.append(row)
    return np.stack(rows)


def bits_of(numbers: NDArray[np.int64], size: int) -> NDArray[np.uint8]:
    return (numbers[:, None] >> np.arange(size) & 1).astype(np.uint8)


@cache
def distances(length: int, known: Masks) -> NDArray[np.float64]:
    """Return, for each seed, the distance of the result from uniform, averaged over views."""
    keys = np.arange(1 << BITS)
    view = np.zeros_like(keys)
    for at, mask in enumerate(known):
        view |= (bits_of(keys & mask, BITS).sum(axis=1) & 1).astype(np.int64) << at
    outcome = view << length | results(length)
    each = [np.bincount(row, minlength=1 << len(known) + length) for row in outcome]
    counts = np.stack(each).reshape(len(each), -1, 1 << length)
    seen = counts.sum(axis=2, keepdims=True)
    gap: NDArray[np.float64] = np.abs(counts - seen / (1 << length)).sum(axis=(1, 2))
    return gap / 2 / len(keys)


def rank(masks: Masks) -> int:
    pivots: list[int] = []
    for mask in masks:
        reduced = mask
        for pivot in pivots:
            reduced = min(reduced, reduced ^ pivot)
        if reduced:
            pivots.append(reduced)
    return len(pivots)


def leftover_hash_bound(length: int, min_entropy: int) -> float:
    return 0.5 * 2 ** ((length - min_entropy) / 2)


def secure_length(leak_bits: int, physical_bits: int) -> int:
    """Return the length that the key formulae would take: for `EPSILON`, and exact counts."""
    return int(BITS - leak_bits - physical_bits - 2 * np.log2(1 / (2 * EPSILON)))


def random_knowledge(seed: int, leaked: int, physical: int) -> Masks:
    random = np.random.default_rng(seed)
    parities = random.integers(1, 1 << BITS, leaked).tolist()
    measured = (1 << random.choice(BITS, physical, replace=False)).tolist()
    return (*parities, *measured)


CASES = [
    (seed, leaked, 5 - leaked) for seed, leaked in enumerate([0, 1, 2, 3, 4, 5, 2, 3])
]  # seed, leaked, physical


def test_sums_of_keys_have_the_sums_of_their_results() -> None:
    stage, random = Stages().amplification, np.random.default_rng(5)
    for number in random.integers(0, 1 << BITS - 1, 20).tolist():
        seed = bits_of(np.array([number]), BITS - 1)[0]
        for key in random.integers(0, 1 << BITS, 10).tolist():
            hashed = stage.amplify(bits_of(np.array([key]), BITS)[0], seed, 3)
            assert hashed @ (1 << np.arange(3)) == results(3)[number, key]


def test_the_whole_family_is_2_universal() -> None:
    """Of all seeds, at most a share of 2^-length sends a given nonzero difference to zero."""
    for length in (1, 2, 3):
        collisions = (results(length)[:, 1:] == 0).mean(axis=0)
        assert collisions.max() == 2.0**-length


@pytest.mark.parametrize(("seed", "leaked", "physical"), CASES)
@pytest.mark.parametrize("length", [1, 2, 3])
def test_eve_knows_no_more_than_the_leftover_hash_lemma_allows(
    seed: int, leaked: int, physical: int, length: int
) -> None:
    known = random_knowledge(seed, leaked, physical)
    bound = leftover_hash_bound(length, BITS - rank(known))
    assert distances(length, known).mean() <= bound


@pytest.mark.parametrize(("seed", "leaked", "physical"), CASES)
def test_a_key_of_the_booked_length_is_secret(seed: int, leaked: int, physical: int) -> None:
    known = random_knowledge(seed, leaked, physical)
    assert distances(secure_length(leaked, physical), known).mean() <= EPSILON


@pytest.mark.parametrize("seed", range(4))
def test_a_leak_that_was_not_booked_shows(seed: int) -> None:
    """Four parities went out, and the account says one: three bits too many are kept."""
    known = independent_knowledge(seed, leaked=4, physical=2)
    booked = secure_length(leak_bits=1, physical_bits=2)
    assert distances(booked, known).mean() > EPSILON


@pytest.mark.parametrize("seed", range(4))
def test_a_length_that_books_no_security_margin_shows(seed: int) -> None:
    known = independent_knowledge(seed, leaked=3, physical=2)
    assert distances(BITS - rank(known), known).mean() > EPSILON


def test_a_seed_that_eve_knew_before_the_light_shows() -> None:
    """A seed that served an earlier block is public: she measures what hurts most.

    With a fresh seed she must choose first; then even her best choice stays below the bound.
    """
    physical = 4
    length = secure_length(0, physical)
    choices = itertools.combinations([1 << bit for bit in range(BITS)], physical)
    each = np.stack([distances(length, chosen) for chosen in choices])
    chosen_first, seed_first = each.mean(axis=1).max(), each.max(axis=0).mean()
    assert chosen_first <= leftover_hash_bound(length, BITS - physical) <= EPSILON
    assert seed_first > EPSILON


def independent_knowledge(seed: int, leaked: int, physical: int) -> Masks:
    """Return knowledge of full rank: nothing of it is told twice."""
    for attempt in itertools.count(1000 * seed):
        known = random_knowledge(attempt, leaked, physical)
        if rank(known) == len(known):
            return known
    raise AssertionError
