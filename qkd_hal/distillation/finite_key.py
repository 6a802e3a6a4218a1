"""How many secret bits a finite block holds: pure functions of agreed counts.

Lim et al., PRA 89, 022307 (2014) for three decoy intensities; Tomamichel et al., Nat.
Commun. 3, 634 (2012) for ideal single photons.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "DecoyBound",
    "DecoyCounts",
    "binary_entropy",
    "decoy_bound",
    "decoy_secret_bits",
    "random_sampling_gamma",
    "sampling_deviation",
    "single_photon_secret_bits",
]


@dataclass(frozen=True, slots=True)
class DecoyCounts:
    """Counts per intensity k: key-basis bits n_X, test-basis bits n_Z, test errors m_Z."""

    key: Sequence[float]
    test: Sequence[float]
    errors: Sequence[float]


@dataclass(frozen=True, slots=True)
class DecoyBound:
    """Bounds of Lim 2014, equations (2) to (5): events from 0 and 1 photons, phase errors."""

    vacuum_key: float
    single_key: float
    single_test: float
    single_test_errors: float
    phase_error: float


def binary_entropy(x: float) -> float:
    """Return h(x) = -x log2 x - (1-x) log2 (1-x)."""
    if x <= 0 or x >= 1:
        return 0.0
    return -x * math.log2(x) - (1 - x) * math.log2(1 - x)


def random_sampling_gamma(a: float, b: float, c: float, d: float) -> float:
    """Return gamma(a, b, c, d) of Lim 2014, below equation (5)."""
    if not 0 < b < 1:
        return 0.0
    spread = (c + d) * (1 - b) * b / (c * d * math.log(2))
    return math.sqrt(spread * math.log2((c + d) / (c * d * (1 - b) * b) * 21**2 / a**2))


class _Deviations:
    """The n+ and n- of Lim 2014: each intensity's count per basis, widened by Hoeffding."""

    def __init__(
        self,
        counts: Sequence[float],
        intensities: Sequence[float],
        probabilities: Sequence[float],
        eps_sec: float,
    ) -> None:
        width = math.sqrt(sum(counts) / 2 * math.log(21 / eps_sec))
        scale = [math.exp(mu) / p for mu, p in zip(intensities, probabilities, strict=True)]
        self.upper = [s * (n + width) for s, n in zip(scale, counts, strict=True)]
        self.lower = [s * (n - width) for s, n in zip(scale, counts, strict=True)]


def _photon_number_probability(
    photons: int, intensities: Sequence[float], probabilities: Sequence[float]
) -> float:
    pairs = zip(intensities, probabilities, strict=True)
    return sum(p * math.exp(-mu) * mu**photons for mu, p in pairs) / math.factorial(photons)


def _vacuum_and_single(
    counts: Sequence[float],
    intensities: Sequence[float],
    probabilities: Sequence[float],
    eps_sec: float,
) -> tuple[float, float]:
    mu1, mu2, mu3 = intensities
    tau0, tau1 = (_photon_number_probability(n, intensities, probabilities) for n in (0, 1))
    n = _Deviations(counts, intensities, probabilities, eps_sec)
    vacuum = max(0.0, tau0 * (mu2 * n.lower[2] - mu3 * n.upper[1]) / (mu2 - mu3))
    rest = (mu2**2 - mu3**2) / mu1**2 * (n.upper[0] - vacuum / tau0)
    single = tau1 * mu1 * (n.lower[1] - n.upper[2] - rest) / (mu1 * (mu2 - mu3) - mu2**2 + mu3**2)
    # Counts that no honest channel gives can push the bounds above what there is to bound.
    vacuum = min(vacuum, sum(counts))
    return vacuum, min(max(0.0, single), sum(counts) - vacuum)


def decoy_bound(
    counts: DecoyCounts,
    intensities: Sequence[float],
    probabilities: Sequence[float],
    eps_sec: float,
) -> DecoyBound:
    """Return what three intensities tell about the events with 0 and 1 photons."""
    vacuum, single = _vacuum_and_single(counts.key, intensities, probabilities, eps_sec)
    _, test = _vacuum_and_single(counts.test, intensities, probabilities, eps_sec)
    tau1 = _photon_number_probability(1, intensities, probabilities)
    m = _Deviations(counts.errors, intensities, probabilities, eps_sec)
    errors = max(0.0, tau1 * (m.upper[1] - m.lower[2]) / (intensities[1] - intensities[2]))
    return DecoyBound(vacuum, single, test, errors, _phase_error(errors, test, single, eps_sec))


def _phase_error(errors: float, test: float, single: float, eps_sec: float) -> float:
    if not (test > 0 and single > 0):
        return 0.5
    rate = errors / test
    # gamma vanishes with the rate, yet a sample without errors leaves room for this many:
    # all of them miss it with probability (eps_sec / 21)^2.
    unseen = 2 * math.log(21 / eps_sec) / math.log1p(test / single)
    sampled = rate + random_sampling_gamma(eps_sec, rate, test, single)
    return min(0.5, max(sampled, unseen / single))


def decoy_secret_bits(
    counts: DecoyCounts,
    intensities: Sequence[float],
    probabilities: Sequence[float],
    leak_bits: float,
    eps_sec: float,
    eps_cor: float,
) -> int:
    """Return the key length of Lim 2014, equation (1); negative or zero means no key."""
    bound = decoy_bound(counts, intensities, probabilities, eps_sec)
    hidden = bound.vacuum_key + bound.single_key * (1 - binary_entropy(bound.phase_error))
    cost = leak_bits + 6 * math.log2(21 / eps_sec) + math.log2(2 / eps_cor)
    return math.floor(hidden - cost)


def sampling_deviation(key_bits: int, test_bits: int, eps_sec: float) -> float:
    """Return mu of Tomamichel 2012: how far the key's error rate may lie above the test's."""
    n, k = key_bits, test_bits
    return math.sqrt((n + k) / (n * k) * (k + 1) / k * math.log(4 / eps_sec))


def single_photon_secret_bits(
    key_bits: int,
    test_bits: int,
    error_rate: float,
    leak_bits: float,
    eps_sec: float,
    eps_cor: float,
) -> int:
    """Return the key length of Tomamichel 2012, with q = 1; zero or less means no key."""
    if not key_bits or not test_bits:
        return 0
    worst = min(0.5, error_rate + sampling_deviation(key_bits, test_bits, eps_sec))
    hidden = key_bits * (1 - binary_entropy(worst))
    return math.floor(hidden - leak_bits - math.log2(2 / (eps_sec**2 * eps_cor)))
