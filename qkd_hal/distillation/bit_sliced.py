"""The middle of a product of polynomials over GF(2), in numpy: no compiler, no rounding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qkd_hal.distillation.additive_fft import AdditiveFFT
from qkd_hal.distillation.nimbers import FIELD_BITS, Expansion, contract

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Bytes = NDArray[np.uint8]
    Words = NDArray[np.uint64]

__all__ = ["BitSliced"]

_CACHED_WORDS = 1 << 17  # 1 MiB of expanded spectra at a time
_EXPANDED = 81  # planes that 16 planes become
_CALLS = 12_000  # what the calls for one block cost, in the unit of `BitSliced.cost`


@dataclass(frozen=True, slots=True)
class BitSliced:
    """A :class:`.Multiplier` by :class:`.AdditiveFFT`; the twin of :class:`.Carryless`."""

    block_sizes: tuple[int, ...] = tuple(1 << log_bytes for log_bytes in range(6, 16))

    def cost(self, block_bytes: int, transforms: int, products: int) -> float:
        """Weigh transforms and products as measured, with the calls that small blocks need."""
        layers = block_bytes.bit_length()
        return transforms * (block_bytes * layers + _CALLS) + products * block_bytes

    def middle(self, key: Bytes, seed: Bytes, rows: int, block_bytes: int) -> Bytes:
        """Multiply; see :meth:`.Multiplier.middle`."""
        transform = AdditiveFFT(block_bytes)
        keys = transform.forward(key.reshape(-1, block_bytes))
        seeds = transform.forward(seed.reshape(-1, block_bytes))
        spectra = _convolved(keys, seeds, rows + 1)
        sums = transform.backward(spectra).reshape(-1, 2, block_bytes)
        product = np.zeros((rows + 2, block_bytes), np.uint8)
        product[:-1] = sums[:, 0]
        product[1:] ^= sums[:, 1]
        for secret in (keys, spectra, sums):
            secret.fill(0)
        transform.wipe()
        return product.reshape(-1)


def _convolved(keys: Words, seeds: Words, rows: int) -> Words:
    """Return sum[row] = sum over i of keys[i] * seeds[k - 1 + row - i], a few words at a time."""
    _, blocks, words = keys.shape
    step = max(1, _CACHED_WORDS // (_EXPANDED * (blocks + seeds.shape[1])))
    sums = np.empty((FIELD_BITS, rows, words), np.uint64)
    for at in range(0, words, step):
        part = np.s_[..., at : at + step]
        _convolve(keys[part], seeds[part], sums[part])
    return sums


def _convolve(keys: Words, seeds: Words, sums: Words) -> None:
    ups, downs = _expanded(keys), _expanded(seeds)[:, ::-1]
    count = ups.shape[1]
    for row in range(sums.shape[1]):
        # Key block i meets seed block count - 1 + row - i, which stands at `turned` + i.
        turned = downs.shape[1] - count - row
        first = max(0, -turned)
        terms = ups[:, first:] & downs[:, turned + first : turned + count]
        sums[:, row] = contract(np.bitwise_xor.reduce(terms, axis=1)[None])


def _expanded(planes: Words) -> Words:
    return Expansion(FIELD_BITS, *planes.shape[1:])(planes)[:, 0]
