"""The best settings of a link: intensities, their probabilities, basis bias, block size."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from qkd_hal.distillation.channel_model import ExpectedRates, Light, expected_rates
from qkd_hal.distillation.finite_key import binary_entropy, single_photon_secret_bits
from qkd_hal.distillation.finite_key_decoy import (
    DecoyCounts,
    decoy_secret_bits,
    exact_phase_error,
)
from qkd_hal.distillation.optimise import minimise
from qkd_hal.distillation.parameters import MAX_DETECTIONS, DistillationParameters, Source
from qkd_hal.distillation.verification import excess_leak
from qkd_hal.errors import NoSecretKeyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from qkd_hal.distillation.channel_model import Link
    from qkd_hal.distillation.finite_key_decoy import PhaseError

    Rate: TypeAlias = Callable[[Light, float], float]

__all__ = ["Goal", "Plan", "best_settings", "expected_secret_bits", "plan"]

_DIMMEST = 2e-4  # what a modulator lets through when it should let nothing (Lim 2014)
_ENOUGH = 0.9  # share of the best rate for which a smaller block is preferred
_BLOCK_SIZES = tuple(1 << power for power in range(12, 23))


@dataclass(frozen=True, slots=True)
class Goal:
    """What a key must cost and be worth.

    *reconciliation_efficiency*: expected leak over Shannon's limit. *max_seconds*: how long
    the pulses of a block may take.
    """

    eps_sec: float = 1e-10
    eps_cor: float = 1e-15
    reconciliation_efficiency: float = 1.06
    pad_refill_bytes: int = 128
    max_seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class Plan:
    """Settings of a link, and what an undisturbed channel then gives per block.

    ``pulses`` and ``seconds`` of light; ``qber``; ``secret_bits``, and ``net_bits`` after
    refilling the pads.
    """

    parameters: DistillationParameters
    pulses: float
    seconds: float
    qber: float
    secret_bits: int
    net_bits: int

    @property
    def net_bits_per_second(self) -> float:
        """Net key over the time that the light takes."""
        return self.net_bits / self.seconds


def expected_secret_bits(
    rates: ExpectedRates,
    light: Light,
    block_size: float,
    leak_bits: float,
    eps_sec: float,
    eps_cor: float,
    phase_error: PhaseError = exact_phase_error,
) -> int:
    """Return the key length of a block of *block_size* key bits with the expected counts."""
    pulses = block_size / sum(rates.key)
    if not light.intensities:
        tests = round(pulses * sum(rates.test))
        counts = round(block_size), tests, rates.qber
        return single_photon_secret_bits(*counts, leak_bits, eps_sec, eps_cor)
    kinds = rates.key, rates.test, rates.test_errors, rates.key_errors
    expected = DecoyCounts(*([pulses * rate for rate in kind] for kind in kinds))
    levels = light.intensities, light.probabilities
    return decoy_secret_bits(expected, *levels, leak_bits, eps_sec, eps_cor, phase_error)


def best_settings(source: Source, rate: Rate) -> tuple[Light, float]:
    """Return the light and the key-basis probability of the highest *rate*.

    Where there is no key, *rate* should be negative and rise towards the settings that give
    one: the search starts from common settings and climbs.
    """
    space = _SPACES[source]
    return space.settings(_searched(space, rate, space.starts, tolerance=1e-6))


def plan(
    link: Link, *, source: Source = "wcp", goal: Goal = Goal(), block_size: int | None = None
) -> Plan:
    """Return the best settings of *link*.

    Without a *block_size*, the smallest block that gives 90 % of the highest net rate: the
    rate grows with the block, ever more slowly, and so do the delay and the memory.

    Raises:
        NoSecretKeyError: no block that the *goal* allows gives any key.
        ConfigurationError: the block size is out of range.
    """
    sizes = _BLOCK_SIZES if block_size is None else (block_size,)
    plans = list(_feasible(link, source, goal, sizes))
    if not plans:
        raise NoSecretKeyError(
            f"no block within {goal.max_seconds:g} s of light gives a key over this link",
            cure="Allow blocks more time, or lower the loss, the dark counts or the error rate",
        )
    most = max(one.net_bits_per_second for one in plans)
    return next(one for one in plans if one.net_bits_per_second >= _ENOUGH * most)


def _feasible(link: Link, source: Source, goal: Goal, sizes: Iterable[int]) -> Iterable[Plan]:
    space = _SPACES[source]
    starts = space.starts
    for size in sizes:
        best = _searched(space, _net_rate(link, goal, size), starts, tolerance=1e-4)
        light, key_basis = _rounded(*space.settings(best))
        if size / key_basis**2 > MAX_DETECTIONS:
            continue
        one = _evaluated(link, source, goal, size, light, key_basis)
        if one.seconds > goal.max_seconds:
            return
        if one.net_bits > 0:
            starts = (best,)  # the next size's optimum is near
            yield one


def _searched(
    space: _Space, rate: Rate, starts: Iterable[Sequence[float]], tolerance: float
) -> Sequence[float]:
    def loss(x: Sequence[float]) -> float:
        return -rate(*space.settings(x))

    found = (minimise(loss, start, tolerance=tolerance) for start in starts)
    return min(found, key=lambda result: result[1])[0]


def _net_rate(link: Link, goal: Goal, size: int) -> Rate:
    def rate(light: Light, key_basis: float) -> float:
        rates = expected_rates(link, light, key_basis)
        net = _length(rates, light, goal, size) - 8 * goal.pad_refill_bytes
        # Below zero the longest block would lose least: the bits themselves lead uphill.
        return net * sum(rates.key) / size if net > 0 else net / size - 1

    return rate


def _length(rates: ExpectedRates, light: Light, goal: Goal, size: int) -> int:
    leak = goal.reconciliation_efficiency * binary_entropy(rates.qber) * size
    cost = leak + excess_leak(goal.eps_cor)
    return expected_secret_bits(rates, light, size, cost, goal.eps_sec, goal.eps_cor)


def _evaluated(
    link: Link, source: Source, goal: Goal, size: int, light: Light, key_basis: float
) -> Plan:
    rates = expected_rates(link, light, key_basis)
    bits = _length(rates, light, goal, size) // 8 * 8
    pulses = size / sum(rates.key)
    parameters = DistillationParameters(
        source=source,
        intensities=light.intensities or (1.0,),
        intensity_probabilities=light.probabilities,
        key_basis_probability=key_basis,
        block_size=size,
        qber_threshold=max(0.08, min(0.45, round(1.5 * rates.qber, 3))),
        eps_sec=goal.eps_sec,
        eps_cor=goal.eps_cor,
        pad_refill_bytes=goal.pad_refill_bytes,
    )
    net = bits - 8 * goal.pad_refill_bytes
    return Plan(parameters, pulses, pulses / link.clock_hz, rates.qber, bits, net)


def _rounded(light: Light, key_basis: float) -> tuple[Light, float]:
    """Settings that a person can type; the optimum is flat."""
    most = [max(0.001, round(p, 3)) for p in light.probabilities[:-1]]
    probabilities = (*most, round(1.0 - sum(most), 3))
    intensities = tuple(round(mu, 4) for mu in light.intensities)
    return Light(intensities, probabilities), round(key_basis, 3)


def _share(x: float) -> float:
    """Any number, as a share strictly between 0 and 1."""
    return 0.0005 + 0.999 / (1 + math.exp(-max(-30.0, min(30.0, x))))


def _mean_photons(x: float) -> float:
    return math.exp(max(-7.0, min(1.0, x)))


def _two_decoys(x: Sequence[float]) -> tuple[Light, float]:
    dimmer = _DIMMEST + _mean_photons(x[1])
    brightest = dimmer + _DIMMEST + _mean_photons(x[2])
    first = _share(x[3])
    second = (1 - first) * _share(x[4])
    probabilities = (first, second, 1 - first - second)
    return Light((brightest, dimmer, _DIMMEST), probabilities), _share(x[0])


def _one_decoy(x: Sequence[float]) -> tuple[Light, float]:
    dimmer = _mean_photons(x[1])
    first = _share(x[3])
    return Light((dimmer + _mean_photons(x[2]), dimmer), (first, 1 - first)), _share(x[0])


def _single_photons(x: Sequence[float]) -> tuple[Light, float]:
    return Light(), _share(x[0])


@dataclass(frozen=True, slots=True)
class _Space:
    """Unbounded variables for a search, what they set, and where to begin."""

    settings: Callable[[Sequence[float]], tuple[Light, float]]
    starts: Sequence[Sequence[float]]


_SPACES: dict[Source, _Space] = {
    "wcp": _Space(
        _two_decoys,
        ((1.7, -2.0, -1.0, 0.2, 0.7), (0.4, -1.6, -1.0, -0.8, 0.5), (-0.2, -1.0, -0.7, -2.0, 0.5)),
    ),
    "wcp-1-decoy": _Space(
        _one_decoy, ((1.7, -2.0, -1.0, 0.7), (0.4, -1.8, -1.0, 0.0), (-0.2, -1.4, -0.7, 0.0))
    ),
    "single-photon": _Space(_single_photons, ((1.7,), (0.0,))),
}
