"""Clicks without pulses: draws where the next click is, then what it is.

For a channel that treats every pulse alike (i.i.d.), the time to the next click is geometric,
and what clicked is one draw over intensity, states, bases and click pattern. The cost is that
of the clicks, whatever the distance and the clock; :mod:`.source`, :mod:`.fibre` and
:mod:`.detector` do the same pulse by pulse, with an Eve between them who need not be i.i.d.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qkd_hal.errors import ConfigurationError
from qkd_hal_simulators.physics.clicks import BOTH
from qkd_hal_simulators.physics.memory import Glow
from qkd_hal_simulators.physics.random import DiscreteSampler, geometric

if TYPE_CHECKING:
    from qkd_hal_simulators.physics.detector import Detector
    from qkd_hal_simulators.physics.fibre import Fibre
    from qkd_hal_simulators.physics.memory import Memory
    from qkd_hal_simulators.physics.source import SinglePhotons, WeakCoherentPulses

__all__ = [
    "BASIS_SHIFT",
    "EMITTED_SHIFT",
    "ClickSampler",
    "click_probability",
    "click_table",
    "silent_states",
]

EMITTED_SHIFT = 3  # a cell: intensity << 5 | prepared basis << 4 | bit << 3 | ...
BASIS_SHIFT = 2  # ... measured basis << 2 | click pattern (0 to 3)
_PATTERNS = 4
_RAREST = 1e-10  # click probability: bounds how many pulses a frame of clicks spans


def click_table(
    light: WeakCoherentPulses | SinglePhotons, fibre: Fibre, detector: Detector
) -> NDArray[np.float64]:
    """Return the probability of each cell, for one pulse on rested detectors.

    Both ends choose X as often as the detector does.
    """
    numbers = light.photon_numbers()
    to_one = detector.chance_of_one()
    zero, one = (
        fibre.transmittance * efficiency * share
        for efficiency, share in zip(detector.efficiencies, (1 - to_one, to_one), strict=True)
    )
    quiet_zero, quiet_one = (1 - noise for noise in detector.noise)
    no_zero = quiet_zero * _dark_chance(numbers, zero)
    no_one = quiet_one * _dark_chance(numbers, one)
    neither = quiet_zero * quiet_one * _dark_chance(numbers, zero + one)
    both = numbers.sum(axis=0)[:, None, None] - no_zero - no_one + neither
    patterns = np.stack((neither, no_one - neither, no_zero - neither, both), axis=-1)
    key = detector.key_basis_probability
    measured = np.array([key, 1 - key])
    prepared = np.repeat(measured, 2) / 2
    table: NDArray[np.float64] = patterns.clip(0) * measured[:, None] * prepared[:, None, None]
    return table.ravel()


def _dark_chance(numbers: NDArray[np.float64], seen: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return P(intensity, and no photon is seen), by intensity, state and basis."""
    powers = (1 - seen.T) ** np.arange(len(numbers))[:, None, None]
    chances: NDArray[np.float64] = np.tensordot(numbers.T, powers, axes=1)
    return chances


def click_probability(table: NDArray[np.float64]) -> float:
    """Return how likely a pulse clicks."""
    return float(table.reshape(-1, _PATTERNS)[:, 1:].sum())


def silent_states(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the chances of ``intensity << 2 | basis << 1 | bit`` in pulses without a click.

    Where every pulse clicks, those of any pulse.
    """
    states = table.reshape(-1, 2, _PATTERNS)
    silent: NDArray[np.float64] = states[..., 0].sum(axis=1)
    return silent if silent.any() else states.sum(axis=(1, 2))


class ClickSampler:
    """An endless stream of clicks; it begins as after a click."""

    def __init__(
        self, table: NDArray[np.float64], memory: Memory, rng: np.random.Generator
    ) -> None:
        self._memory = memory
        self._rng = rng
        self._glow = Glow()
        self.retune(table)

    def retune(self, table: NDArray[np.float64]) -> None:
        """Go on with another channel.

        Raises:
            ConfigurationError: nothing would ever click.
        """
        self.click_probability = click_probability(table)
        if not self.click_probability > _RAREST:
            raise ConfigurationError(
                "no pulse would ever click", cure="Lower the loss, or raise the efficiency"
            )
        patterns = np.arange(table.size) % _PATTERNS
        self._seen = DiscreteSampler(np.where(patterns > 0, table, 0.0).tolist())
        # Where every pulse clicks, no afterpulse ever falls on one that did not.
        unseen = np.where(patterns > 0, 0.0, table) if self.click_probability < 1 else table
        self._unseen = DiscreteSampler(unseen.tolist())

    def draw(self, count: int) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        """Return the next *count* clicks: pulses since the click before, and cells."""
        gaps = geometric(self._rng, self.click_probability, count)
        if not self._memory.afterpulse_probability:
            gaps += self._memory.dead_pulses
            return gaps, self._seen.draw(self._rng, count)
        echoes = self._memory.echoes(self._rng, count)
        cells = self._seen.draw(self._rng, count)
        lonely = np.flatnonzero(echoes < gaps)
        cells[lonely] = self._unseen.draw(self._rng, lonely.size)
        patterns = self._glow.patterns(cells & np.uint8(BOTH), echoes <= gaps, self._rng)
        return np.minimum(gaps, echoes) + self._memory.dead_pulses, cells & ~np.uint8(
            BOTH
        ) | patterns
