"""Privacy amplification with a Toeplitz matrix, multiplied by FFT, exactly.

Toeplitz matrices are 2-universal (Mansour, Nisan, Tiwari 1993), as the leftover hash lemma
wants. Row i of the matrix is seed[i : i + n], so y = T x is part of a convolution of 0/1
sequences. Its sums are integers; a float64 transform of length N errs by about
1e-16 * N * log2(N) < 1e-8 at the largest N used here, and the parity is right while the
error stays below 0.5. The result is checked against 0.1 all the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qkd_hal.errors import DistillationError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["seed_bits", "toeplitz_hash"]

MAX_TRANSFORM = 1 << 21  # 48 MiB of float64 and spectra at most, however long the key
_TOLERATED_ERROR = 0.1


def seed_bits(key_bits: int, output_bits: int) -> int:
    """Return how many random bits the matrix takes."""
    return key_bits + output_bits - 1


def toeplitz_hash(
    key: NDArray[np.uint8], seed: NDArray[np.uint8], output_bits: int
) -> NDArray[np.uint8]:
    """Multiply: y[i] = XOR over j of seed[i + j] & key[j].

    *key*: n bits; *seed*: n + output_bits - 1 bits; all 0/1 values in uint8.

    Raises:
        UsageError: the seed has another length.
    """
    if len(seed) != seed_bits(len(key), output_bits) or not output_bits:
        raise UsageError(f"{len(seed)} seed bits do not fit {len(key)} to {output_bits} bits")
    result = np.zeros(output_bits, np.uint8)
    step = MAX_TRANSFORM // 2
    for start in range(0, len(key), step):
        part = key[start : start + step]
        for row in range(0, output_bits, step):
            rows = min(step, output_bits - row)
            at = start + row
            window = seed[at : at + seed_bits(len(part), rows)]
            result[row : row + rows] ^= _correlate(part, window, rows)
    return result


def _correlate(key: NDArray[np.uint8], seed: NDArray[np.uint8], rows: int) -> NDArray[np.uint8]:
    # Wrapped-around terms only fall on places before len(key) - 1, which nobody reads, so the
    # transform need not be longer than the seed.
    size = _fast_length(len(seed))
    spectrum = np.fft.rfft(key[::-1], size)
    spectrum *= np.fft.rfft(seed, size)
    sums = np.fft.irfft(spectrum, size)[len(key) - 1 : len(key) - 1 + rows]
    whole = np.rint(sums)
    if np.abs(sums - whole).max() > _TOLERATED_ERROR:
        raise DistillationError("privacy amplification lost precision; the block is dropped")
    return (whole.astype(np.int64) & 1).astype(np.uint8)


def _fast_length(least: int) -> int:
    """Return the smallest 2^a 3^b 5^c not below *least*: lengths that FFTs like."""
    best = 1 << (least - 1).bit_length()
    five = 1
    while five < best:
        three = five
        while three < best:
            factor = -(-least // three)
            best = min(best, three << (factor - 1).bit_length())
            three *= 3
        five *= 5
    return best
