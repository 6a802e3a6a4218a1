"""The hash that tells whether two keys agree."""

from __future__ import annotations

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


def test_cut_hashes_collide_no_more_than_their_length_allows() -> None:
    """With 6 bits of the hash left, different keys agree about once in 64."""
    random = np.random.default_rng(3)
    key, other = random.integers(0, 2, (2, 512), dtype=np.uint8)
    trials = 20_000
    seeds = [random.bytes(16) for _ in range(trials)]
    agree = sum((key_hash(key, s)[0] ^ key_hash(other, s)[0]) & 0x3F == 0 for s in seeds)
    # Five standard deviations of a binomial around 1/64.
    assert abs(agree - trials / 64) < 5 * (trials / 64) ** 0.5


def test_the_collision_bound_is_far_below_any_eps_cor() -> None:
    assert collision_bound(16) == 8 / 2**106
    assert collision_bound(17) == 16 / 2**106
    assert collision_bound(1 << 20) < 1e-25


def test_hash_bits_beyond_the_formula_are_booked() -> None:
    # log2(2 / 1e-15) = 50.8: of 128 bits sent the formula books 50.
    assert excess_leak(1e-15) == 78
    assert excess_leak(2.0**-140) == 0
