"""Key lengths of older papers, without a finite-size analysis: for comparison only.

None of them bounds what the test sample did not see, and the last two assume that Eve
measures each photon on its own. No key is ever made by them.
"""

from __future__ import annotations

import math

from qkd_hal.distillation.finite_key import binary_entropy

__all__ = ["bennett_1992_bits", "luetkenhaus_bits", "shor_preskill_bits"]


def shor_preskill_bits(
    key_bits: int, error_rate: float, leak_bits: float, security_bits: float
) -> float:
    """Return n (1 - h(Q)) less the leak and *security_bits*: Shor and Preskill, PRL 85, 441."""
    return key_bits * (1 - binary_entropy(error_rate)) - leak_bits - security_bits


def luetkenhaus_bits(
    key_bits: int, error_rate: float, leak_bits: float, security_bits: float
) -> float:
    """Return n (1 - log2(1 + 4Q - 4Q^2)) less both: individual attacks, PRA 59, 3301."""
    tau = math.log2(1 + 4 * error_rate - 4 * error_rate**2)
    return key_bits * (1 - tau) - leak_bits - security_bits


def bennett_1992_bits(
    key_bits: int, error_rate: float, leak_bits: float, security_bits: float
) -> float:
    """Return n less an estimate for intercept and resend: Bennett et al., J. Cryptology 5, 3.

    The estimate is (4 / sqrt 2) Q n with five standard deviations.
    """
    errors = error_rate * key_bits
    seen = 4 / math.sqrt(2) * errors + 5 * math.sqrt((4 + 2 * math.sqrt(2)) * errors)
    return key_bits - seen - leak_bits - security_bits
