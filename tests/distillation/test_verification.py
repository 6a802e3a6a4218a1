"""The hash that tells whether two keys agree."""

from __future__ import annotations

import math

import numpy as np
import pytest

from qkd_hal.distillation.verification import collision_bound, excess_leak, key_hash, verify
from qkd_hal.errors import VerificationError

SEED = bytes(range(16))


def test_equal_keys_pass_and_one_flipped_bit_does_not() -> None:
    key = np.random.default_rng(1).integers(0, 2, 1001, dtype=np.uint8)
    expected = key_hash(key, SEED)
    verify(key_hash(key.copy(), SEED), expected)
    for at in (0, 500, 1000):
        key[at] ^= 1
        with pytest.raises(VerificationError):
            verify(key_hash(key, SEED), expected)
        key[at] ^= 1


def test_another_seed_gives_another_hash() -> None:
    key = np.ones(64, np.uint8)
    assert key_hash(key, SEED) != key_hash(key, SEED[::-1])


@pytest.mark.parametrize("tag_bits", range(4, 11))
def test_cut_hashes_miss_no_more_often_than_their_length_allows(tag_bits: int) -> None:
    """Few bits of a hash collide visibly: once in 2^bits, and not more, at 10^-6 significance.

    The pairs differ as those do that reconciliation leaves: in two bits, or in many.
    """
    random = np.random.default_rng(tag_bits)
    trials, mask = 6000, (1 << tag_bits) - 1
    missed = 0
    for trial in range(trials):
        key = random.integers(0, 2, 300, dtype=np.uint8)
        other = key.copy()
        other[random.choice(300, 2 if trial % 2 else 20, replace=False)] ^= 1
        seed = random.bytes(16)
        found, expected = (int.from_bytes(key_hash(k, seed), "little") for k in (other, key))
        missed += (found ^ expected) & mask == 0
    assert binomial_tail(missed, trials, 2.0**-tag_bits) > 1e-6
    assert missed  # or the test would not see a failure if there was one


def binomial_tail(least: int, trials: int, chance: float) -> float:
    """Return the chance of *least* successes or more."""
    logs = (
        math.lgamma(trials + 1)
        - math.lgamma(n + 1)
        - math.lgamma(trials - n + 1)
        + n * math.log(chance)
        + (trials - n) * math.log1p(-chance)
        for n in range(least, trials + 1)
    )
    return math.fsum(map(math.exp, logs))


def test_the_collision_bound_is_far_below_any_eps_cor() -> None:
    assert collision_bound(16) == 8 / 2**106
    assert collision_bound(17) == 16 / 2**106
    assert collision_bound(1 << 20) < 1e-25


def test_hash_bits_beyond_the_formula_are_booked() -> None:
    # log2(2 / 1e-15) = 50.8: of 128 bits sent the formula books 50.
    assert excess_leak(1e-15) == 78
    assert excess_leak(2.0**-140) == 0
