"""The parts of the multiplication in numpy, each against its definition."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from qkd_hal.distillation.bit_planes import from_planes, swap_lanes, to_planes
from qkd_hal.distillation.nimbers import (
    CANTOR,
    FIELD_BITS,
    Expansion,
    Products,
    contract,
    expanded_factors,
    nim_product,
)
from qkd_hal.distillation.subspace_basis import from_subspace_basis, to_subspace_basis

NIMBERS = st.integers(0, (1 << FIELD_BITS) - 1)


@cache
def smallest_excluded(a: int, b: int) -> int:
    """Multiply nimbers as Conway defines it."""
    options = {
        smallest_excluded(x, b) ^ smallest_excluded(a, y) ^ smallest_excluded(x, y)
        for x in range(a)
        for y in range(b)
    }
    return min(set(range(len(options) + 1)) - options)


def test_small_nimbers_multiply_as_conway_says() -> None:
    for a in range(16):
        for b in range(16):
            assert nim_product(a, b) == smallest_excluded(a, b)


@given(NIMBERS, NIMBERS, NIMBERS)
def test_nimbers_are_a_field(a: int, b: int, c: int) -> None:
    assert nim_product(a, nim_product(b, c)) == nim_product(nim_product(a, b), c)
    assert nim_product(a, b ^ c) == nim_product(a, b) ^ nim_product(a, c)
    power = a
    for _ in range(FIELD_BITS):
        power = nim_product(power, power)
    assert power == a  # Frobenius, 16 times, is the identity of GF(2^16)


def test_each_element_of_cantors_basis_follows_from_the_next() -> None:
    assert CANTOR[0] == 1
    for before, base in pairwise(CANTOR):
        assert nim_product(base, base) ^ base == before


@given(st.integers(0, 2**32), st.sampled_from([4, 8, 16]))
def test_planes_multiply_as_nimbers_do(seed: int, bits: int) -> None:
    factors = np.random.default_rng(seed).integers(0, 1 << bits, (2, 128), dtype=np.uint16)
    expected = [nim_product(a, b) for a, b in factors.T.tolist()]
    left, right = (planes_of(values)[:bits] for values in factors)
    expand = Expansion(bits, 2)
    terms = expand(left)[:, 0].copy()
    terms &= expand(right)[:, 0]
    assert values_of(contract(terms[None])) == expected
    assert values_of(Products(bits, 2)(left, expanded_factors(right))) == expected


def planes_of(values: NDArray[np.uint16]) -> NDArray[np.uint64]:
    halves = values & 255, values >> 8
    return np.concatenate([to_planes(half.astype(np.uint8)) for half in halves])


def values_of(planes: NDArray[np.uint64]) -> list[int]:
    planes = np.concatenate([planes, np.zeros((FIELD_BITS - len(planes), 2), np.uint64)])
    low, high = from_planes(planes[:8]).astype(int), from_planes(planes[8:]).astype(int)
    numbers: list[int] = (low | high << 8).tolist()
    return numbers


def test_a_plane_holds_one_bit_of_each_byte() -> None:
    octets = np.random.default_rng(1).integers(0, 256, 192, dtype=np.uint8)
    planes = to_planes(octets)
    for at, octet in enumerate(octets.tolist()):
        word, lane = divmod(at, 64)
        assert [int(plane[word]) >> lane & 1 for plane in planes] == [
            octet >> bit & 1 for bit in range(8)
        ]
    assert (from_planes(planes) == octets).all()


def test_lanes_change_places_with_those_of_the_other_half() -> None:
    bits = np.random.default_rng(2).integers(0, 2, (2, 64))
    words = [sum(bit << lane for lane, bit in enumerate(row)) for row in bits.tolist()]
    for level in range(6):
        planes = np.array([words], np.uint64)
        swap_lanes(planes, level)
        for lane in range(64):
            odd = lane >> level & 1
            first = bits[1, lane ^ 1 << level] if odd else bits[0, lane]
            second = bits[1, lane] if odd else bits[0, lane | 1 << level]
            assert [int(word) >> lane & 1 for word in planes[0]] == [first, second]
        swap_lanes(planes, level)
        assert planes[0].tolist() == words


def test_a_product_of_subspace_polynomials_becomes_powers() -> None:
    # s_0 = x, s_1 = x^2 + x, s_2 = x^4 + x; basis element 6 is s_1 s_2.
    element = np.zeros(8, np.uint8)
    element[6] = 1
    # (x^2 + x)(x^4 + x) = x^6 + x^5 + x^3 + x^2
    assert from_subspace_basis(element).tolist() == [0, 0, 1, 1, 0, 1, 1, 0]


@given(st.integers(0, 10), st.integers(0, 2**32))
def test_the_bases_convert_both_ways(log_count: int, seed: int) -> None:
    coefficients = np.random.default_rng(seed).integers(0, 256, 1 << log_count, dtype=np.uint8)
    assert (from_subspace_basis(to_subspace_basis(coefficients)) == coefficients).all()
