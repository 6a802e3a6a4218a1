"""Privacy amplification: a key times a random matrix over GF(2), exactly.

Toeplitz matrices are 2-universal (Mansour, Nisan, Tiwari 1993), as the leftover hash lemma
wants. A Toeplitz matrix beside the identity is so, too, and takes a shorter seed and less
work (Hayashi and Tsurumaru, IEEE Trans. Inf. Theory 62, 2213, 2016): two keys that differ in
the part that the matrix sees collide with probability 2^-m; two that differ only in the part
that is added never do.

A product by a Toeplitz matrix is the middle of a product of polynomials over GF(2): the seed's
times that of the key turned round. It is made in blocks, so that time per bit hardly grows
with the key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from qkd_hal.distillation import carryless
from qkd_hal.distillation.bit_sliced import BitSliced
from qkd_hal.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Bits = NDArray[np.uint8]

__all__ = [
    "FASTEST",
    "Multiplier",
    "modified_seed_bits",
    "modified_toeplitz_hash",
    "seed_bits",
    "toeplitz_hash",
]


class Multiplier(Protocol):
    """Multiplies polynomials over GF(2), cut into blocks. They are public but for the key."""

    @property
    def block_sizes(self) -> tuple[int, ...]:
        """Bytes that a block may have."""
        ...

    def cost(self, block_bytes: int, transforms: int, products: int) -> float:
        """Return about how long so many transforms and products of blocks take, in any unit."""
        ...

    def middle(self, key: Bits, seed: Bits, rows: int, block_bytes: int) -> Bits:
        """Return blocks k - 1 to k + *rows* of *key* times *seed*, where *key* has k blocks.

        Both are whole blocks of packed coefficients, the lowest first and in the lowest bit.
        The first and the last block are not whole: products of blocks before and beyond are
        left out.
        """
        ...


FASTEST: Multiplier = carryless.Carryless() if carryless.AVAILABLE else BitSliced()
"""The compiled multiplication where there is one, else that in numpy: the same bits."""


class _Blocks(NamedTuple):
    """How the product is cut: bytes of a block, and how many cover key, seed and result."""

    size: int
    key: int
    seed: int
    rows: int


def seed_bits(key_bits: int, output_bits: int) -> int:
    """Return how many random bits the matrix takes."""
    return key_bits + output_bits - 1


def modified_seed_bits(key_bits: int, output_bits: int) -> int:
    """Return how many random bits the matrix beside the identity takes: one less than the key.

    Raises:
        UsageError: the result is not shorter than the key.
    """
    if output_bits >= key_bits:
        raise UsageError(f"{key_bits} bits cannot be shortened to {output_bits}")
    return seed_bits(key_bits - output_bits, output_bits)


def modified_toeplitz_hash(
    key: Bits, seed: Bits, output_bits: int, multiplier: Multiplier = FASTEST
) -> Bits:
    """Return T a XOR b: *key* is a with b, the last *output_bits* of it, behind.

    T a as in :func:`toeplitz_hash`, with len(*key*) - 1 bits of *seed*; so is the memory.

    Raises:
        UsageError: the result is empty or not shorter than the key, or the seed has another
            length.
    """
    left = len(key) - output_bits
    if len(seed) != modified_seed_bits(len(key), output_bits):
        raise UsageError(f"{len(seed)} seed bits do not fit {len(key)} to {output_bits} bits")
    result = toeplitz_hash(key[:left], seed, output_bits, multiplier)
    result ^= key[left:]
    return result


def toeplitz_hash(
    key: Bits, seed: Bits, output_bits: int, multiplier: Multiplier = FASTEST
) -> Bits:
    """Multiply: y[i] = XOR over j of seed[i + j] & key[j].

    *key*: n bits; *seed*: n + output_bits - 1 bits; all 0/1 values in uint8. Beside these and
    the result it takes at most 2 bytes per seed bit, and 6 MiB.

    Raises:
        UsageError: there is no key or no result, or the seed has another length.
    """
    if not len(key) or output_bits < 1 or len(seed) != seed_bits(len(key), output_bits):
        raise UsageError(f"{len(seed)} seed bits do not fit {len(key)} to {output_bits} bits")
    blocks = _cheapest(len(key), output_bits, multiplier)
    turned = _turned(key, blocks.key * blocks.size)
    matrix = _packed(seed, blocks.seed * blocks.size)
    product = multiplier.middle(turned, matrix, blocks.rows, blocks.size)
    # With key[0] as the last bit of k blocks, y[0] is the last bit of the product's first k,
    # of which `middle` returns the last.
    bits = np.unpackbits(product[blocks.size - 1 :], bitorder="little", count=7 + output_bits)
    result = bits[7:].copy()
    for secret in (turned, product, bits):
        secret.fill(0)
    return result


def _cheapest(key_bits: int, output_bits: int, multiplier: Multiplier) -> _Blocks:
    def cost(blocks: _Blocks) -> float:
        transforms = blocks.key + blocks.seed + blocks.rows + 1
        return multiplier.cost(blocks.size, transforms, blocks.key * (blocks.rows + 1))

    return min((_cut(key_bits, output_bits, n) for n in multiplier.block_sizes), key=cost)


def _cut(key_bits: int, output_bits: int, size: int) -> _Blocks:
    bits = key_bits, seed_bits(key_bits, output_bits), output_bits - 1
    return _Blocks(size, *(-(-count // (8 * size)) for count in bits))


def _packed(bits: Bits, size: int) -> Bits:
    """Return *size* bytes that start with *bits*, the lowest bit first."""
    packed = np.zeros(size, np.uint8)
    packed[: (len(bits) + 7) // 8] = np.packbits(bits, bitorder="little")
    return packed


def _turned(bits: Bits, size: int) -> Bits:
    """Return *size* bytes that end with *bits*, the last of them first."""
    turned = np.zeros(size, np.uint8)
    turned[size - (len(bits) + 7) // 8 :] = np.packbits(bits)[::-1]
    return turned
