"""The middle of a product of polynomials over GF(2), in numpy: no compiler, no rounding."""

from __future__ import annotations

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


class BitSliced:
    """Multiplies by :class:`.AdditiveFFT`; the twin of :class:`.carryless.Carryless`."""

    block_sizes = tuple(1 << log_bytes for log_bytes in range(6, 16))

    def cost(self, block_bytes: int, transforms: int, products: int) -> float:
        """Return about how long so many transforms and products take; weights as measured."""
        layers = block_bytes.bit_length()
        return (block_bytes + 8192) * transforms * layers + block_bytes * products * 2

    def middle(self, key: Bytes, seed: Bytes, rows: int, block_bytes: int) -> Bytes:
        """Return blocks k - 1 to k + *rows* of *key* times *seed*, where *key* has k blocks.

        Both are polynomials over GF(2), lowest coefficient first and in the lowest bit, in
        whole blocks of *block_bytes*. The first and the last block are not whole: products of
        blocks before and beyond are left out.
        """
        transform = AdditiveFFT(block_bytes)
        keys = np.stack([transform.forward(block) for block in key.reshape(-1, block_bytes)])
        seeds = np.stack([transform.forward(block) for block in seed.reshape(-1, block_bytes)])
        product = np.zeros((rows + 2, block_bytes), np.uint8)
        for row, spectrum in enumerate(_convolved(keys, seeds, rows + 1)):
            product[row : row + 2] ^= transform.backward(spectrum).reshape(2, -1)
        keys.fill(0)
        transform.wipe()
        return product.reshape(-1)


def _convolved(keys: Words, seeds: Words, rows: int) -> Words:
    """Return sum[row] = sum over i of keys[i] * seeds[k - 1 + row - i], a few words at a time."""
    words = keys.shape[2]
    step = max(1, _CACHED_WORDS // (_EXPANDED * (len(keys) + len(seeds))))
    sums = np.empty((rows, FIELD_BITS, words), np.uint64)
    for at in range(0, words, step):
        part = slice(at, at + step)
        sums[:, :, part] = _convolved_part(keys[:, :, part], seeds[:, :, part], rows)
    return sums


def _convolved_part(keys: Words, seeds: Words, rows: int) -> Words:
    ups, downs = _expanded(keys), _expanded(seeds)[:, ::-1]
    sums = np.empty((rows, FIELD_BITS, keys.shape[2]), np.uint64)
    for row, total in enumerate(sums):
        # Key block i meets seed block `last` - i, which stands at `turned` + i in `downs`.
        last = len(keys) - 1 + row
        turned = len(seeds) - 1 - last
        first = max(0, -turned)
        terms = ups[:, first:] & downs[:, turned + first : turned + len(keys)]
        total[:] = contract(np.bitwise_xor.reduce(terms, axis=1))
    return sums


def _expanded(spectra: Words) -> Words:
    planes = spectra.swapaxes(0, 1)
    return Expansion(FIELD_BITS, *planes.shape[1:])(planes)
