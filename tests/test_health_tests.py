"""Health tests notice a broken generator, however its bytes are cut, and leave a good one be."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkd_hal.health_tests import HealthTests, proportion_cutoff, repetition_cutoff

LINUX = [325, 422, 459, 477, 488, 494, 499, 502, 505, 507, 508, 509, 510, 511, 512]
LINUX_PERMANENT = [355, 447, 479, 494, 502, 507, 510, 512]


def test_cutoffs_of_the_standard_and_of_linux() -> None:
    assert repetition_cutoff(2.0, 2**-20) == 11  # the example in SP 800-90B, 4.4.1
    assert repetition_cutoff(1.0, 2**-30) == 31  # linux/crypto/jitterentropy.c, as the next two
    assert [proportion_cutoff(1 / n, 2**-30) for n in range(1, 16)] == LINUX
    assert [proportion_cutoff(1 / n, 2**-60) for n in range(1, 9)] == LINUX_PERMANENT
    assert (repetition_cutoff(6, 2**-40), proportion_cutoff(6, 2**-40)) == (8, 36)


def test_a_good_generator_passes_for_long() -> None:
    tests = HealthTests()
    rng = random.Random(90)
    assert all(tests.take(rng.randbytes(4099)) for _ in range(1000))


def _slices(samples: bytes, sizes: list[int]) -> list[bytes]:
    parts, place, turn = [], 0, 0
    while place < len(samples):
        parts.append(samples[place : place + sizes[turn % len(sizes)]])
        place += len(parts[-1])
        turn += 1
    return parts


SIZES = st.lists(st.integers(1, 700), min_size=1)


@given(SIZES, st.integers(0, 3000), st.integers(0, 255))
def test_a_run_fails_at_its_eighth_byte(sizes: list[int], place: int, value: int) -> None:
    rng = random.Random(place)
    samples = bytearray(rng.randbytes(3000))
    samples[place:place] = bytes([value]) * 7
    samples[place + 7 : place + 7] = bytes([(value + 1) % 256])
    samples[place:place] = bytes([(value + 2) % 256])
    assert all(HealthTests().take(part) for part in [bytes(samples)])
    samples[place + 1 : place + 1] = bytes([value])
    tests = HealthTests()
    assert not all(tests.take(part) for part in _slices(bytes(samples), sizes))
    assert tests.failure == "repetition count"


@given(SIZES)
def test_a_first_byte_that_comes_too_often_fails(sizes: list[int]) -> None:
    window = bytearray(1 + n % 255 for n in range(512))
    window[::16] = bytes(32)  # 32 times in 512, and three more make 35
    window[5:8] = bytes(3)
    passing = HealthTests()
    assert all(passing.take(part) for part in _slices(bytes(window) * 8, sizes))
    window[11] = 0
    tests = HealthTests()
    taken = [tests.take(part) for part in _slices(bytes(window), sizes)]
    assert not taken[-1]
    assert tests.failure == "adaptive proportion"


def test_a_failure_is_final() -> None:
    tests = HealthTests()
    assert not tests.take(bytes(100))
    assert not tests.take(random.Random(1).randbytes(1000))


@pytest.mark.parametrize("stuck", [b"\x00", b"\xff", b"\x55\xaa", b"\x01\x02\x03\x04"])
def test_a_short_cycle_fails_within_a_window(stuck: bytes) -> None:
    assert not HealthTests().take(stuck * (512 // len(stuck)))


def test_nothing_is_kept_but_a_run_and_one_byte() -> None:
    tests = HealthTests()
    tests.take(random.Random(2).randbytes(5000) + b"\x07\x07\x07")
    assert tests._tail == b"\x07\x07\x07"
    assert len(tests._first) == 1
