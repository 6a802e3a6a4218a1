"""Sifting: both ways to it part the same detections alike."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkd_hal.distillation.sifting import sift, sift_matching


@given(st.integers(0, 60), st.integers(1, 3), st.integers(0, 2**16))
def test_only_matches_count_and_keep_their_order(size: int, levels: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    bits, bases, same = (random.integers(0, 2, size, dtype=np.uint8) for _ in range(3))
    matches = same == 1
    intensities = random.integers(0, levels, int(same.sum()), dtype=np.uint8)
    found = sift_matching(bits, bases, matches, intensities)
    known = list(zip(bits[matches], bases[matches], intensities, strict=True))
    for basis, mine, its_levels in (
        (0, found.key_bits, found.key_intensities),
        (1, found.test_bits, found.test_intensities),
    ):
        expected = [(bit, level) for bit, there, level in known if there == basis]
        assert list(zip(mine, its_levels, strict=True)) == expected


@pytest.mark.parametrize("level", [0, 2])
def test_where_all_match(level: int) -> None:
    bits, bases = np.array([1, 0, 1], np.uint8), np.array([0, 1, 0], np.uint8)
    found = sift(bits, bases, np.full(3, level, np.uint8))
    assert found.key_bits.tolist() == [1, 1]
    assert found.test_bits.tolist() == [0]
    assert found.key_intensities.tolist() == [level, level]


def test_what_is_sifted_shares_no_memory_with_its_source() -> None:
    bits = np.ones(3, np.uint8)
    found = sift(bits, np.zeros(3, np.uint8), np.zeros(3, np.uint8))
    found.wipe()
    assert bits.all()
