"""How far the errors of the key may lie above those of a random sample of the detections.

The key and the test bits of a block are a random split of the detections whose bases agree:
the number of errors in the test is hypergeometric. All bounds here speak of that split.
"""

from __future__ import annotations

import math

__all__ = [
    "exact_sampling_deviation",
    "hypergeometric_log_tail",
    "most_key_errors",
    "random_sampling_gamma",
    "serfling_deviation",
]

_TERMS = 64  # summed one by one; a geometric series bounds the rest, and hardly exceeds it


def random_sampling_gamma(a: float, b: float, c: float, d: float) -> float:
    """Return gamma(a, b, c, d) of Lim 2014, below equation (5), as printed.

    It estimates the tail, and falls short of it: see ``docs/finite-key.md``.
    """
    if not 0 < b < 1:
        return 0.0
    spread = (c + d) * (1 - b) * b / (c * d * math.log(2))
    return math.sqrt(spread * math.log2((c + d) / (c * d * (1 - b) * b) * 21**2 / a**2))


def serfling_deviation(key_bits: int, test_bits: int, eps_pe: float) -> float:
    """Return nu of Tomamichel and Leverrier, Quantum 1, 14 (2017).

    The error rate of the key lies this far above that of the test, or farther, with
    probability at most ``eps_pe**2``.
    """
    n, k = key_bits, test_bits
    return math.sqrt((n + k) / (n * k) * (k + 1) / k * math.log(1 / eps_pe))


def exact_sampling_deviation(
    key_bits: int, test_bits: int, test_errors: int, eps_pe: float
) -> float:
    """Return the least deviation that keeps the promise of :func:`serfling_deviation`.

    It sums the hypergeometric distribution itself instead of bounding it.
    """
    most = most_key_errors(key_bits, test_bits, test_errors, eps_pe)
    return most / key_bits - test_errors / test_bits


def most_key_errors(key_bits: int, test_bits: int, test_errors: int, eps_pe: float) -> int:
    """Return C: a key with C errors or more shows so few in the test too seldom.

    "Too seldom" is with probability at most ``eps_pe**2``, whatever the number of errors
    is: one error more in the key, or one less in the test, is never likelier. So C is a
    confidence bound for the errors that were counted, not only for a rate agreed on
    before. It is ``key_bits`` where not even that many errors are seldom enough.
    """
    limit = 2 * math.log(eps_pe)

    def least(low: int, high: int, terms: int) -> int:
        while high - low > 1:
            middle = (low + high) // 2
            total = test_errors + middle
            tail = hypergeometric_log_tail(test_errors, total, key_bits, test_bits, terms=terms)
            low, high = (low, middle) if tail <= limit else (middle, high)
        return high

    # A geometric series alone is quick, and hardly ever an error in a thousand too high.
    near = least(0, key_bits, 0)
    return least(max(0, near - 2 - near // 1000), near, _TERMS)


def hypergeometric_log_tail(
    drawn: int, errors: int, key_bits: int, test_bits: int, *, terms: int = _TERMS
) -> float:
    """Return an upper bound on ln P(at most *drawn* of all *errors* fall into the test).

    The largest *terms* are summed; what follows falls faster than a geometric series, which
    bounds it. Above the distribution's mode the bound is 0, that is P = 1.
    """
    if drawn < errors - key_bits:
        return -math.inf
    step = _step_down(drawn, errors, key_bits, test_bits)
    if step >= 1:
        return 0.0
    total, term = 0.0, 1.0
    for at in range(drawn - 1, drawn - 1 - terms, -1):
        total += term
        term *= step
        if not term:
            break
        step = _step_down(at, errors, key_bits, test_bits)
    log_sum = math.log(total + term / (1 - step))
    return min(0.0, _log_probability(drawn, errors, key_bits, test_bits) + log_sum)


def _step_down(at: int, errors: int, key_bits: int, test_bits: int) -> float:
    """P(at - 1) / P(at)."""
    if at <= 0 or at <= errors - key_bits:
        return 0.0
    if at > min(errors, test_bits):
        return math.inf
    return at * (key_bits - errors + at) / ((errors - at + 1) * (test_bits - at + 1))


def _log_probability(at: int, errors: int, key_bits: int, test_bits: int) -> float:
    split = _log_binomial(test_bits, at) + _log_binomial(key_bits, errors - at)
    whole = _log_binomial(key_bits + test_bits, errors)
    # The cancellation of large logarithms must not make an event rarer than it is.
    return split - whole + 4e-15 * math.lgamma(key_bits + test_bits + 1)


def _log_binomial(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
