"""How many secret bits a block of ideal single photons holds.

Pure functions of agreed counts, for finite blocks and composable security. Decoy pulses:
:mod:`.finite_key_decoy`. What the bounds rest on: ``docs/finite-key.md``.
"""

from __future__ import annotations

import math

from qkd_hal.distillation.finite_key_sampling import most_key_errors, serfling_deviation

__all__ = [
    "binary_entropy",
    "sampling_deviation",
    "single_photon_secret_bits",
    "tomamichel_2012_secret_bits",
    "tomamichel_leverrier_secret_bits",
]


def binary_entropy(x: float) -> float:
    """Return h(x) = -x log2 x - (1-x) log2 (1-x)."""
    if x <= 0 or x >= 1:
        return 0.0
    return -x * math.log2(x) - (1 - x) * math.log2(1 - x)


def sampling_deviation(key_bits: int, test_bits: int, eps_sec: float) -> float:
    """Return mu of Tomamichel 2012: how far the key's error rate may lie above the test's."""
    return serfling_deviation(key_bits, test_bits, eps_sec / 4)


def single_photon_secret_bits(
    key_bits: int,
    test_bits: int,
    error_rate: float,
    leak_bits: float,
    eps_sec: float,
    eps_cor: float,
) -> int:
    """Return the key length that a block is given; zero or less means no key.

    It is that of Tomamichel and Leverrier with the exact sampling bound and the split of
    ``eps_sec`` of Tomamichel 2012: a quarter for each of two sampling terms, half for the
    amplification.
    """
    eps = eps_sec / 4, eps_sec / 2, eps_cor
    return tomamichel_leverrier_secret_bits(key_bits, test_bits, error_rate, leak_bits, *eps)


def tomamichel_leverrier_secret_bits(
    key_bits: int,
    test_bits: int,
    error_rate: float,
    leak_bits: float,
    eps_pe: float,
    eps_pa: float,
    eps_cor: float,
) -> int:
    """Return the key length of Tomamichel and Leverrier, Quantum 1, 14 (2017).

    The block is ``eps_cor + 2 eps_pe + eps_pa`` secure. In place of Serfling's bound, the
    test errors are sampled exactly.
    """
    if not key_bits or not test_bits:
        return 0
    errors = math.floor(error_rate * test_bits + 1e-6)  # m / k * k may fall just short of m
    rate = most_key_errors(key_bits, test_bits, errors, eps_pe) / key_bits
    cost = leak_bits + math.log2(2 / eps_cor) + 2 * math.log2(1 / (2 * eps_pa))
    return math.floor(_unknown_bits(key_bits, rate) - cost)


def tomamichel_2012_secret_bits(
    key_bits: int,
    test_bits: int,
    error_rate: float,
    leak_bits: float,
    eps_sec: float,
    eps_cor: float,
) -> int:
    """Return the key length of Tomamichel et al., Nat. Commun. 3, 634 (2012), with q = 1.

    It samples by Serfling's inequality: never more than :func:`single_photon_secret_bits`,
    up to the rounding of one error.
    """
    if not key_bits or not test_bits:
        return 0
    rate = error_rate + sampling_deviation(key_bits, test_bits, eps_sec)
    cost = leak_bits + math.log2(2 / (eps_sec**2 * eps_cor))
    return math.floor(_unknown_bits(key_bits, rate) - cost)


def _unknown_bits(key_bits: int, phase_error: float) -> float:
    return key_bits * (1 - binary_entropy(min(0.5, phase_error)))
