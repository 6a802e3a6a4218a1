"""The field of nimbers below 2^16, and its products for 64 elements to a word.

Nimbers (Conway, On Numbers and Games, chapter 6) are a tower of quadratic extensions of the
bit: a number of 2w bits is low + x high with x^2 = x + d, where d is the top bit of the w-bit
nimbers. Bit p of 64 elements shares a word, and Karatsuba's three half-size products take a
product of 64 elements some 340 ANDs and XORs of words: no table, no branch, exact.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Words = NDArray[np.uint64]

__all__ = [
    "CANTOR",
    "FIELD_BITS",
    "Expansion",
    "Products",
    "contract",
    "expanded_factors",
    "nim_product",
]

FIELD_BITS = 16
CANTOR = (
    *(0x1, 0x2, 0x4, 0xA, 0x14, 0x20, 0x4C, 0xAE),
    *(0x152, 0x22E, 0x480, 0xA4C, 0x14FA, 0x2002, 0x4C32, 0xAE98),
)
"""Cantor's basis of the field: 1, and then each b with b^2 + b = the one before."""


def nim_product(a: int, b: int, bits: int = FIELD_BITS) -> int:
    """Multiply two nimbers below 2^bits; *bits* is a power of two."""
    if bits == 1:
        return a & b
    half = bits // 2
    (high_a, low_a), (high_b, low_b) = divmod(a, 1 << half), divmod(b, 1 << half)
    low, high = nim_product(low_a, low_b, half), nim_product(high_a, high_b, half)
    both = nim_product(low_a ^ high_a, low_b ^ high_b, half)
    return low ^ nim_product(high, 1 << half - 1, half) | (both ^ low) << half


@lru_cache
def _times_top(bits: int) -> list[tuple[int, list[int]]]:
    """Say for each bit of x d which bits of x it sums, with d the top bit of *bits*."""
    columns = [nim_product(1 << bit, 1 << bits - 1, bits) for bit in range(bits)]
    return [(to, [at for at in range(bits) if columns[at] >> to & 1]) for to in range(bits)]


class Expansion:
    """Splits elements of *bits* bits into what Karatsuba multiplies, down to parts of *down_to*.

    It keeps its buffers: fresh pages would cost more than the work. *shape*: of a plane.
    """

    def __init__(self, bits: int, *shape: int, down_to: int = 1) -> None:
        halvings = (bits // down_to).bit_length() - 1
        self._levels = [
            np.empty((3, 3**level, bits >> level + 1, *shape), np.uint64)
            for level in range(halvings)
        ]

    def __call__(self, planes: Words) -> Words:
        """Return 3^n parts of *down_to* planes each; valid until next time.

        *planes*: lowest bit first. The parts are (low, both, high) of (low, both, high) ...,
        the finest level first.
        """
        parts = planes[None]
        for finer in self._levels:
            half = parts.shape[1] // 2
            low, high = parts[:, :half], parts[:, half:]
            finer[0], finer[2] = low, high
            np.bitwise_xor(low, high, out=finer[1])
            parts = finer.reshape(-1, *finer.shape[2:])
        return parts

    def wipe(self) -> None:
        """Overwrite the buffers."""
        for level in self._levels:
            level.fill(0)


class Products:
    """Multiplies elements of *bits* bits, at least 4, by fixed ones. *shape*: of a plane."""

    def __init__(self, bits: int, *shape: int) -> None:
        self._split = Expansion(bits, *shape, down_to=2)
        parts = 3 ** (bits.bit_length() - 2)
        self._terms = np.empty((2, parts, *shape), np.uint64)
        self._sums = np.empty((2, parts, *shape), np.uint64)

    def __call__(self, planes: Words, factors: Words) -> Words:
        """Return the planes of the products; *factors* are those of :func:`expanded_factors`."""
        parts = self._split(planes)
        low, high = parts[:, 0], parts[:, 1]
        np.bitwise_and(low, factors[0], out=self._sums[0])
        np.bitwise_and(low, factors[2], out=self._sums[1])
        np.bitwise_and(high, factors[2], out=self._terms[0])
        np.bitwise_and(high, factors[1], out=self._terms[1])
        self._sums ^= self._terms
        return contract(self._sums)

    def wipe(self) -> None:
        """Overwrite the buffers."""
        self._split.wipe()
        for buffer in (self._terms, self._sums):
            buffer.fill(0)


def expanded_factors(planes: Words) -> Words:
    """Return (low, both, high) of each two-bit part of the factors of :class:`Products`."""
    parts = Expansion(len(planes), *planes.shape[1:])(planes)
    return parts.reshape(3, -1, *planes.shape[1:]).copy()


def contract(elements: Words) -> Words:
    """Undo :class:`Expansion` after the products: elements by parts become elements.

    *elements*: planes of the parts, lowest bit first, by 3^n parts.
    """
    while elements.shape[1] > 1:
        bits = len(elements)
        elements = _joined(elements.reshape(bits, 3, -1, *elements.shape[2:]))
    return elements[:, 0]


def _joined(thirds: Words) -> Words:
    bits = len(thirds)
    low, both, high = thirds[:, 0], thirds[:, 1], thirds[:, 2]
    wider = np.empty((2, *low.shape), thirds.dtype)
    np.bitwise_xor(low, both, out=wider[1])
    for to, sources in _times_top(bits):
        before = low[to]
        for at in sources:
            before = np.bitwise_xor(before, high[at], out=wider[0, to])
    return wider.reshape(2 * bits, *low.shape[1:])
