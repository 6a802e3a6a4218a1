"""How many secret bits a block of weak coherent pulses holds: decoy analysis.

Lim et al., PRA 89, 022307 (2014) for three intensities (two decoys); Rusca et al., Appl.
Phys. Lett. 112, 171104 (2018) for two (one decoy). Key and test basis are X and Z in the
former paper, Z and X in the latter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from qkd_hal.distillation.finite_key import binary_entropy
from qkd_hal.distillation.finite_key_sampling import most_key_errors, random_sampling_gamma

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    PhaseError: TypeAlias = Callable[[float, float, float, float], float]

__all__ = [
    "DecoyBound",
    "DecoyCounts",
    "decoy_bound",
    "decoy_secret_bits",
    "exact_phase_error",
    "printed_phase_error",
]

_TERMS = {3: 21, 2: 19}  # equal terms that make up eps_sec, per number of intensities


@dataclass(frozen=True, slots=True)
class DecoyCounts:
    """Counts per intensity, brightest first: key bits, test bits, errors among the test bits.

    ``key_errors``: errors among the key bits, which only one decoy needs.
    """

    key: Sequence[float]
    test: Sequence[float]
    errors: Sequence[float]
    key_errors: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class DecoyBound:
    """Bounds on events from 0 and 1 photons: s_X0, s_X1, s_Z1, v_Z1, phi_X of Lim 2014."""

    vacuum_key: float
    single_key: float
    single_test: float
    single_test_errors: float
    phase_error: float


class _Light:
    """Intensities mu_k with probabilities p_k, and the failure each estimate may have."""

    def __init__(
        self, intensities: Sequence[float], probabilities: Sequence[float], eps: float
    ) -> None:
        self.intensities = intensities
        self.log_inverse_eps = math.log(1 / eps)
        pairs = list(zip(intensities, probabilities, strict=True))
        self.tau0 = sum(p * math.exp(-mu) for mu, p in pairs)
        self.tau1 = sum(p * math.exp(-mu) * mu for mu, p in pairs)
        self.scale = [math.exp(mu) / p for mu, p in pairs]

    def width(self, count: float) -> float:
        """Hoeffding's deviation."""
        return math.sqrt(count / 2 * self.log_inverse_eps)

    def widened(self, counts: Sequence[float]) -> tuple[list[float], list[float]]:
        """Return n- and n+ of each intensity."""
        width = self.width(sum(counts))
        scaled = list(zip(self.scale, counts, strict=True))
        return [s * (n - width) for s, n in scaled], [s * (n + width) for s, n in scaled]


def exact_phase_error(errors: float, test: float, single: float, eps_sec: float) -> float:
    """Return phi_X by exact sampling: *errors* of *test* events seen, *single* of them keyed.

    It is exceeded with probability at most ``(eps_sec / 21)**2``.
    """
    seen, sample, events = math.ceil(errors), math.floor(test), math.floor(single)
    if seen >= sample or events < 1:
        return 0.5
    return min(0.5, most_key_errors(events, sample, seen, eps_sec / 21) / events)


def printed_phase_error(errors: float, test: float, single: float, eps_sec: float) -> float:
    """Return phi_X of Lim 2014, equation (5), as printed: for comparison with the papers.

    Too low where few errors were seen, and zero where none was: no key may rest on it.
    """
    if not (test > 0 and single > 0):
        return 0.5
    rate = errors / test
    return min(0.5, rate + random_sampling_gamma(eps_sec, rate, test, single))


def decoy_bound(
    counts: DecoyCounts,
    intensities: Sequence[float],
    probabilities: Sequence[float],
    eps_sec: float,
    phase_error: PhaseError = exact_phase_error,
) -> DecoyBound:
    """Return what two or three intensities tell about the events with 0 and 1 photons.

    Counts that no honest channel gives never raise a bound above what was counted.
    """
    light = _Light(intensities, probabilities, eps_sec / _TERMS[len(intensities)])
    vacuum, single = _events(light, counts.key, counts.key_errors)
    _, test = _events(light, counts.test, counts.errors)
    errors = _single_errors(light, counts.errors)
    return DecoyBound(vacuum, single, test, errors, phase_error(errors, test, single, eps_sec))


def decoy_secret_bits(
    counts: DecoyCounts,
    intensities: Sequence[float],
    probabilities: Sequence[float],
    leak_bits: float,
    eps_sec: float,
    eps_cor: float,
    phase_error: PhaseError = exact_phase_error,
) -> int:
    """Return the key length of Lim 2014, equation (1), or of Rusca 2018.

    Negative or zero means no key.
    """
    bound = decoy_bound(counts, intensities, probabilities, eps_sec, phase_error)
    hidden = bound.vacuum_key + bound.single_key * (1 - binary_entropy(bound.phase_error))
    terms = _TERMS[len(intensities)]
    cost = leak_bits + 6 * math.log2(terms / eps_sec) + math.log2(2 / eps_cor)
    return math.floor(hidden - cost)


def _events(light: _Light, counts: Sequence[float], errors: Sequence[float]) -> tuple[float, float]:
    if len(light.intensities) == 3:
        vacuum, single = _two_decoys(light, counts)
    else:
        vacuum, single = _one_decoy(light, counts, errors)
    vacuum = min(max(0.0, vacuum), sum(counts))
    return vacuum, min(max(0.0, single), sum(counts) - vacuum)


def _two_decoys(light: _Light, counts: Sequence[float]) -> tuple[float, float]:
    """Lim 2014, equations (2) and (3)."""
    mu1, mu2, mu3 = light.intensities
    lower, upper = light.widened(counts)
    vacuum = max(0.0, light.tau0 * (mu2 * lower[2] - mu3 * upper[1]) / (mu2 - mu3))
    rest = (mu2**2 - mu3**2) / mu1**2 * (upper[0] - vacuum / light.tau0)
    weight = light.tau1 * mu1 / (mu1 * (mu2 - mu3) - mu2**2 + mu3**2)
    return vacuum, weight * (lower[1] - upper[2] - rest)


def _one_decoy(
    light: _Light, counts: Sequence[float], errors: Sequence[float]
) -> tuple[float, float]:
    """Rusca 2018, appendix: vacuum events err half of the time."""
    mu1, mu2 = light.intensities
    lower, upper = light.widened(counts)
    vacuum = light.tau0 * (mu1 * lower[1] - mu2 * upper[0]) / (mu1 - mu2)
    most_wrong = light.tau0 * min(light.widened(errors)[1])
    most_vacuum = 2 * (most_wrong + light.width(sum(counts)))
    multiple = (mu2 / mu1) ** 2 * upper[0]
    dark = (1 - (mu2 / mu1) ** 2) * most_vacuum / light.tau0
    weight = light.tau1 * mu1 / (mu2 * (mu1 - mu2))
    return vacuum, weight * (lower[1] - multiple - dark)


def _single_errors(light: _Light, errors: Sequence[float]) -> float:
    """Lim 2014, equation (4), and the same in Rusca 2018: from the two dimmest intensities."""
    lower, upper = light.widened(errors)
    # Dim pulses never err more often than brighter ones, but for the fluctuations.
    fluctuation = (upper[-2] - lower[-2] + upper[-1] - lower[-1]) / 2
    gap = max(upper[-2] - lower[-1], fluctuation)
    return light.tau1 * gap / (light.intensities[-2] - light.intensities[-1])
