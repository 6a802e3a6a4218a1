"""An additive FFT over GF(2^16) in numpy: polynomials over GF(2) at all points of a subspace.

A polynomial over GF(2) is cut into pieces of 8 bits, the coefficients of a polynomial in x^8.
Products of two pieces stay below degree 15, so they can be read back from the field: there
is nothing to round. The transform is that of Lin, Chung and Han (FOCS 2014) over Cantor's
basis, on bit planes: bit p of 64 elements shares a word.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from qkd_hal.distillation.bit_planes import from_planes, swap_lanes, to_planes
from qkd_hal.distillation.nimbers import (
    CANTOR,
    FIELD_BITS,
    Products,
    expanded_factors,
    nim_product,
)
from qkd_hal.distillation.subspace_basis import from_subspace_basis, to_subspace_basis

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Bytes = NDArray[np.uint8]
    Words = NDArray[np.uint64]

__all__ = ["AdditiveFFT"]

_LOG_LANES = 6  # 64 elements to a word
_PIECE_BITS = 8
_GROUP_WORDS = 512  # of a plane: with fewer the calls cost more, with more the cache misses
_X = 256  # stands for x: of all candidates its powers have the fewest bits


class _Layer(NamedTuple):
    """Butterflies between elements whose numbers differ by 2^level alone.

    ``twiddles``, expanded, lie in the subfield of ``bits`` bits.
    """

    level: int
    bits: int
    twiddles: Words


class AdditiveFFT:
    """Transforms blocks of *block_bytes*: a power of two, 64 to 2^15.

    The spectrum of b blocks is 16 planes by b by ``words``: each block's values at
    2 * *block_bytes* points. They are in an order of their own, the same for all of a size.
    """

    def __init__(self, block_bytes: int) -> None:
        self._half = block_bytes >> _LOG_LANES
        self.words = 2 * self._half
        self._layers = _layers(block_bytes)
        self._kept: dict[tuple[int, int], Products] = {}

    def forward(self, blocks: Bytes) -> Words:
        """Return the spectrum of b polynomials over GF(2), lowest coefficient first."""
        spectrum = np.empty((FIELD_BITS, len(blocks), self.words), np.uint64)
        for at in self._groups(len(blocks)):
            self._evaluate(blocks[at], spectrum[:, at])
        return spectrum

    def backward(self, spectrum: Words) -> Bytes:
        """Return the b polynomials of 2 * *block_bytes* with this spectrum, which is spent."""
        groups = self._groups(spectrum.shape[1])
        return np.concatenate([self._interpolated(spectrum[:, at]) for at in groups])

    def wipe(self) -> None:
        """Overwrite the buffers."""
        for products in self._kept.values():
            products.wipe()

    def _groups(self, blocks: int) -> list[slice]:
        size = max(1, _GROUP_WORDS // self._half)
        return [slice(at, min(at + size, blocks)) for at in range(0, blocks, size)]

    def _evaluate(self, blocks: Bytes, spectrum: Words) -> None:
        pieces = np.stack([to_subspace_basis(block) for block in blocks])
        planes = to_planes(pieces.reshape(-1)).reshape(_PIECE_BITS, len(blocks), -1)
        # The upper half of the coefficients is zero, so the first layer copies the lower.
        spectrum[..., : self._half] = spectrum[..., self._half :] = _mapped(_TO_FIELD, planes)
        for layer in self._layers:
            if layer.level < _LOG_LANES:
                swap_lanes(spectrum, layer.level)
            low, high = self._pairs(spectrum, layer.level)
            self._add_product(low, high, layer)
            high ^= low

    def _interpolated(self, spectrum: Words) -> Bytes:
        for layer in reversed(self._layers):
            low, high = self._pairs(spectrum, layer.level)
            high ^= low
            self._add_product(low, high, layer)
            if layer.level < _LOG_LANES:
                swap_lanes(spectrum, layer.level)
        spectrum[..., self._half :] ^= spectrum[..., : self._half]
        planes = _mapped(_FROM_FIELD, spectrum)
        return np.stack([_polynomial(planes[:, at]) for at in range(planes.shape[1])])

    def _pairs(self, spectrum: Words, level: int) -> tuple[Words, Words]:
        if level < _LOG_LANES:
            return spectrum[..., : self._half], spectrum[..., self._half :]
        pairs = spectrum.reshape(*spectrum.shape[:2], -1, 2, 1 << level - _LOG_LANES)
        return pairs[..., 0, :], pairs[..., 1, :]

    def _add_product(self, into: Words, of: Words, layer: _Layer) -> None:
        # Over a subfield an element is a vector, whose parts are multiplied one by one.
        parts = FIELD_BITS // layer.bits
        shape = (parts, layer.bits, *of.shape[1:])
        planes = np.ascontiguousarray(of.reshape(shape).swapaxes(0, 1))
        rows = planes.size // (layer.bits * self._half)
        multiply = self._products(layer.bits, rows)
        product = multiply(planes.reshape(layer.bits, rows, -1), layer.twiddles)
        total = into.reshape(shape)
        total ^= product.reshape(planes.shape).swapaxes(0, 1)

    def _products(self, bits: int, rows: int) -> Products:
        if (bits, rows) not in self._kept:
            self._kept[bits, rows] = Products(bits, rows, self._half)
        return self._kept[bits, rows]


def _polynomial(planes: Words) -> Bytes:
    low, high = (from_subspace_basis(from_planes(half)) for half in np.split(planes, 2))
    low[1:] ^= high[:-1]
    return low


@lru_cache(maxsize=2)
def _layers(block_bytes: int) -> list[_Layer]:
    """Return the layers after the first, whose only twiddle is 0. 4 MiB for the longest."""
    log_half = block_bytes.bit_length() - 1
    values = np.zeros(1, np.uint16)
    for base in CANTOR[1 : log_half + 1]:
        values = np.concatenate([values, values ^ np.uint16(base)])
    numbers = np.arange(2 * block_bytes).reshape(-1, 1 << _LOG_LANES)
    layers = []
    for level in reversed(range(log_half)):
        blocks = _lower_numbers(numbers, level) >> level + 1
        bits = 4 if log_half - level < 4 else 8 if log_half - level < 8 else 16
        layers.append(_Layer(level, bits, _twiddles(values[blocks], bits)))
    return layers


def _lower_numbers(numbers: NDArray[np.int64], level: int) -> NDArray[np.int64]:
    """Return whose element stands at each place of `_pairs`' first half; swap as it does."""
    if level >= _LOG_LANES:
        return numbers.reshape(-1, 2, 1 << level)[:, 0].reshape(-1)
    low, high = np.split(numbers, 2)
    odd = np.arange(numbers.shape[1]) >> level & 1 == 1
    low[:, odd], high[:, ~odd] = high[:, ~odd], low[:, odd]
    return low.reshape(-1)


def _twiddles(values: NDArray[np.uint16], bits: int) -> Words:
    low, high = (values & 255).astype(np.uint8), (values >> 8).astype(np.uint8)
    planes = np.concatenate([to_planes(low), to_planes(high)])[:bits]
    return expanded_factors(planes)[:, :, None]


def _mapped(rows: list[list[int]], planes: Words) -> Words:
    """Multiply by a matrix over GF(2), given by the places of its ones."""
    return np.stack([np.bitwise_xor.reduce(planes[row], axis=0) for row in rows])


def _powers_of_x() -> list[int]:
    powers = [1]
    while len(powers) < FIELD_BITS:
        powers.append(nim_product(powers[-1], _X))
    return powers


def _inverted(columns: list[int]) -> list[int]:
    """Return the columns of the inverse of a matrix over GF(2)."""
    size = len(columns)
    rows = [column | 1 << size + at for at, column in enumerate(columns)]
    for bit in range(size):
        pivot = next(row for row in rows[bit:] if row >> bit & 1)
        rows[rows.index(pivot)], rows[bit] = rows[bit], pivot
        rows = [r ^ pivot if r is not pivot and r >> bit & 1 else r for r in rows]
    return [row >> size for row in rows]


def _ones(columns: list[int]) -> list[list[int]]:
    return [
        [at for at, column in enumerate(columns) if column >> row & 1] for row in range(FIELD_BITS)
    ]


_TO_FIELD = _ones(_powers_of_x()[:_PIECE_BITS])
_FROM_FIELD = _ones(_inverted(_powers_of_x()))
