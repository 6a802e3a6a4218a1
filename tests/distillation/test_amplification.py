"""The FFT gives the same bits as the matrix."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pytest_mock import MockerFixture

from qkd_hal.distillation import amplification
from qkd_hal.distillation.amplification import seed_bits, toeplitz_hash
from qkd_hal.errors import DistillationError, UsageError


def draw(seed: int, count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 2, count, dtype=np.uint8)


def by_matrix(key: NDArray[np.uint8], seed: NDArray[np.uint8], rows: int) -> NDArray[np.uint8]:
    result = np.zeros(rows, np.uint8)
    for row in range(rows):
        result[row] = np.count_nonzero(seed[row : row + len(key)] & key) & 1
    return result


@given(st.integers(0, 2**32), st.integers(1, 300), st.integers(1, 300))
def test_equal_to_the_matrix(seed: int, bits: int, rows: int) -> None:
    key, matrix = draw(seed, bits), draw(seed + 1, seed_bits(bits, rows))
    assert (toeplitz_hash(key, matrix, rows) == by_matrix(key, matrix, rows)).all()


@settings(max_examples=30)
@given(st.integers(0, 2**32), st.integers(1, 200), st.integers(1, 200))
def test_equal_when_cut_into_pieces(seed: int, bits: int, rows: int) -> None:
    key, matrix = draw(seed, bits), draw(seed + 1, seed_bits(bits, rows))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(amplification, "MAX_TRANSFORM", 64)
        pieces = toeplitz_hash(key, matrix, rows)
    assert (pieces == by_matrix(key, matrix, rows)).all()


def test_exact_where_the_sums_are_largest() -> None:
    # All ones: every sum is as large as it gets, and sampled rows are checked one by one.
    bits, rows = 1_500_000, 400_000
    key, matrix = np.ones(bits, np.uint8), np.ones(seed_bits(bits, rows), np.uint8)
    matrix[::3] = 0
    result = toeplitz_hash(key, matrix, rows)
    for row in (0, 1, 123_456, rows - 1):
        assert result[row] == np.count_nonzero(matrix[row : row + bits]) & 1


def test_a_known_product() -> None:
    key = np.array([1, 0, 1, 1], np.uint8)
    matrix = np.array([1, 1, 0, 1, 0, 0], np.uint8)
    # rows 1101, 1010, 0100 times key 1011
    assert toeplitz_hash(key, matrix, 3).tolist() == [0, 0, 0]
    assert toeplitz_hash(key, matrix[::-1].copy(), 3).tolist() == [1, 1, 1]


@pytest.mark.parametrize("length", [0, 5, 7])
def test_a_seed_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(UsageError):
        toeplitz_hash(draw(1, 4), draw(2, length), 3)


def test_lost_precision_is_an_abort(mocker: MockerFixture) -> None:
    # A correct transform does not lose precision, so a broken one stands in for it.
    real = np.fft.irfft
    mocker.patch("numpy.fft.irfft", lambda *a: real(*a) + 0.3)
    with pytest.raises(DistillationError, match="precision"):
        toeplitz_hash(draw(1, 64), draw(2, seed_bits(64, 8)), 8)
