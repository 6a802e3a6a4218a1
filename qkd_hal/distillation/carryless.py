"""Products over GF(2) by the processor's carry-less multiplication: `native/clmul.c`."""

from __future__ import annotations

from ctypes import c_int64, c_uint64
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qkd_hal.distillation import native
from qkd_hal.distillation.native import array

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Bytes = NDArray[np.uint8]

__all__ = ["AVAILABLE", "Carryless"]

_PIECE_BYTES = 4
_LINE = 8  # words that keep the spectra from falling on the same lines of the cache

_supported = native.bind("clmul_supported", result=c_int64)
_blocks = array(np.uint32), c_uint64
_middle = native.bind(
    *("clmul_middle", *_blocks, *_blocks, c_uint64, c_uint64),
    *(array(np.uint64, out=True), array(np.uint32, out=True)),
)

AVAILABLE = native.AVAILABLE and bool(_supported())
"""Whether the kernel was compiled and this processor has the instruction."""


@dataclass(frozen=True, slots=True)
class Carryless:
    """A :class:`.Multiplier` by `clmul_middle`; the twin of :class:`.BitSliced`."""

    block_sizes: tuple[int, ...] = tuple(_PIECE_BYTES << log_half for log_half in range(2, 16))

    def cost(self, block_bytes: int, transforms: int, products: int) -> float:
        """Weigh transforms and products as measured."""
        layers = (block_bytes // _PIECE_BYTES).bit_length()
        return block_bytes * (transforms * (layers - 1) + products / 2)

    def middle(self, key: Bytes, seed: Bytes, rows: int, block_bytes: int) -> Bytes:
        """Multiply; see :meth:`.Multiplier.middle`."""
        key_blocks, seed_blocks = len(key) // block_bytes, len(seed) // block_bytes
        half = block_bytes // _PIECE_BYTES
        each = 2 * half + _LINE
        scratch = np.empty(half + (key_blocks + seed_blocks + rows + 1) * each, np.uint64)
        product = np.zeros((rows + 2) * half, np.uint32)
        words = key.view(np.uint32), key_blocks, seed.view(np.uint32), seed_blocks
        _middle(*words, rows, half.bit_length() - 1, scratch, product)
        scratch.fill(0)
        return product.view(np.uint8)
