"""Every way to multiply gives the same bits as the matrix."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from qkd_hal.distillation import carryless
from qkd_hal.distillation.amplification import (
    Multiplier,
    modified_seed_bits,
    modified_toeplitz_hash,
    seed_bits,
    toeplitz_hash,
)
from qkd_hal.distillation.bit_sliced import BitSliced
from qkd_hal.distillation.carryless import Carryless
from qkd_hal.errors import UsageError

Bits = NDArray[np.uint8]

# The compiled one is there where a compiler was and the processor can do it.
MULTIPLIERS: list[BitSliced | Carryless] = [BitSliced(), *[Carryless()] * carryless.AVAILABLE]
BORDERS = [1, 7, 8, 9, 31, 32, 33, 63, 64, 65, 127, 128, 129, 511, 512, 513, 1023, 1024, 1025]
LENGTHS = st.sampled_from(BORDERS) | st.integers(1, 1500)


each_multiplier = pytest.mark.parametrize(
    "multiplier", MULTIPLIERS, ids=lambda one: type(one).__name__
)


def draw(seed: int, count: int) -> Bits:
    return np.random.default_rng(seed).integers(0, 2, count, dtype=np.uint8)


def as_integer(bits: Bits) -> int:
    """Bit j of the integer is bits[j]."""
    return int.from_bytes(np.packbits(bits, bitorder="little").tobytes(), "little")


def by_integers(key: Bits, seed: Bits, rows: int) -> list[int]:
    row, matrix = as_integer(key), as_integer(seed)
    return [(matrix >> at & row).bit_count() & 1 for at in range(rows)]


@each_multiplier
@given(data=st.data())
def test_equal_to_the_matrix(multiplier: BitSliced | Carryless, data: st.DataObject) -> None:
    bits, rows, seed = data.draw(LENGTHS), data.draw(LENGTHS), data.draw(st.integers(0, 2**32))
    size = data.draw(st.sampled_from(multiplier.block_sizes[:4]))
    key, matrix = draw(seed, bits), draw(seed + 1, seed_bits(bits, rows))
    product = toeplitz_hash(key, matrix, rows, replace(multiplier, block_sizes=(size,)))
    assert product.dtype == np.uint8
    assert product.tolist() == by_integers(key, matrix, rows)


@each_multiplier
def test_equal_in_blocks_of_every_size(multiplier: BitSliced | Carryless) -> None:
    for size in multiplier.block_sizes:
        bits, rows = 8 * size + 9, 100  # two blocks of the key
        key, matrix = draw(size, bits), draw(size + 1, seed_bits(bits, rows))
        product = toeplitz_hash(key, matrix, rows, replace(multiplier, block_sizes=(size,)))
        assert product.tolist() == by_integers(key, matrix, rows)


@settings(max_examples=5)
@given(st.integers(0, 2**32), st.integers(100_000, 300_000), st.integers(1, 200_000))
def test_the_twins_agree(seed: int, bits: int, rows: int) -> None:
    key, matrix = draw(seed, bits), draw(seed + 1, seed_bits(bits, rows))
    products = [toeplitz_hash(key, matrix, rows, one).tobytes() for one in MULTIPLIERS]
    assert len(set(products)) == 1
    row, at = as_integer(key), rows - 1
    assert products[0][at] == (as_integer(matrix[at:]) & row).bit_count() & 1


@each_multiplier
def test_a_known_product(multiplier: Multiplier) -> None:
    key = np.array([1, 0, 1, 1], np.uint8)
    matrix = np.array([1, 1, 0, 1, 0, 0], np.uint8)
    # rows 1101, 1010, 0100 times key 1011
    assert toeplitz_hash(key, matrix, 3, multiplier).tolist() == [0, 0, 0]
    assert toeplitz_hash(key, matrix[::-1], 3, multiplier).tolist() == [1, 1, 1]


@each_multiplier
@given(st.integers(0, 2**32), st.integers(2, 600), st.data())
def test_the_identity_adds_the_end_of_the_key(
    multiplier: Multiplier, seed: int, bits: int, data: st.DataObject
) -> None:
    rows = data.draw(st.integers(1, bits - 1))
    key, matrix = draw(seed, bits), draw(seed + 1, modified_seed_bits(bits, rows))
    assert len(matrix) == bits - 1
    product = by_integers(key[: bits - rows], matrix, rows)
    expected = np.array(product, np.uint8) ^ key[bits - rows :]
    hashed = modified_toeplitz_hash(key, matrix, rows, multiplier)
    assert hashed.tolist() == expected.tolist()


@pytest.mark.parametrize(("bits", "length", "rows"), [(8, 6, 3), (8, 8, 3), (8, 7, 8), (8, 7, 0)])
def test_a_modified_matrix_of_another_size_is_refused(bits: int, length: int, rows: int) -> None:
    with pytest.raises(UsageError):
        modified_toeplitz_hash(draw(1, bits), draw(2, length), rows)


@each_multiplier
def test_the_key_is_left_alone(multiplier: Multiplier) -> None:
    key, matrix = draw(1, 1000), draw(2, seed_bits(1000, 300))
    toeplitz_hash(key, matrix, 300, multiplier)
    assert (key == draw(1, 1000)).all()


@pytest.mark.parametrize(("bits", "length", "rows"), [(4, 0, 3), (4, 5, 3), (4, 7, 3), (0, 2, 3)])
def test_a_seed_of_another_length_is_refused(bits: int, length: int, rows: int) -> None:
    with pytest.raises(UsageError):
        toeplitz_hash(draw(1, bits), draw(2, length), rows)


@pytest.mark.parametrize("rows", [0, -1])
def test_an_empty_result_is_refused(rows: int) -> None:
    with pytest.raises(UsageError):
        toeplitz_hash(draw(1, 4), draw(2, 3 + rows), rows)


@each_multiplier
@pytest.mark.parametrize(
    "bits", [100_000, 1_000_000, pytest.param(10_000_000, marks=pytest.mark.slow)]
)
def test_memory_is_bounded(multiplier: BitSliced | Carryless, bits: int) -> None:
    rows = bits // 2
    key = np.zeros(bits, np.uint8)
    seed = np.zeros(modified_seed_bits(bits, rows), np.uint8)
    tracemalloc.start()
    modified_toeplitz_hash(key, seed, rows, multiplier)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < rows + 2 * len(seed) + (6 << 20)
