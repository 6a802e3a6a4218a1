"""How many clicks a block counts of each kind, without drawing one of them.

The clicks of an i.i.d. channel fall into a few classes, each click on its own, so the counts of
a block are one multinomial draw. That clicks in a row may share an afterpulsing detector is left
out: it correlates bits, and errors not at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qkd_hal_simulators.physics.sampler import click_probability

if TYPE_CHECKING:
    from qkd_hal_simulators.physics.memory import Memory

__all__ = ["SiftedCounts", "count_block", "sifted_chances", "span_of_clicks"]

_WRONG = np.array([[[0.0, 0.0, 1.0, 0.5], [0.0, 1.0, 0.0, 0.5]]])  # by bit and click pattern


@dataclass(frozen=True, slots=True)
class SiftedCounts:
    """Counts by intensity: sifted bits of the key basis and the test basis, and errors."""

    key: tuple[int, ...]
    test: tuple[int, ...]
    key_errors: tuple[int, ...]
    test_errors: tuple[int, ...]

    @property
    def qber(self) -> float:
        """Error rate of the test bits; a half where there are none."""
        return sum(self.test_errors) / sum(self.test) if any(self.test) else 0.5

    @property
    def key_qber(self) -> float:
        """Error rate of the key bits, alike."""
        return sum(self.key_errors) / sum(self.key) if any(self.key) else 0.5


def sifted_chances(table: NDArray[np.float64], memory: Memory) -> NDArray[np.float64]:
    """Return the chance that a click is sifted, by intensity, basis, and right or wrong.

    *table*: of :func:`~.sampler.click_table`. What is missing to 1 are differing bases.
    """
    cells = table.reshape(-1, 2, 2, 2, 4)  # intensity, prepared basis, bit, measured basis, pattern
    matching = np.stack([cells[:, basis, :, basis] for basis in (0, 1)], axis=1)
    clicks = click_probability(table)
    seen = matching * [0, 1, 1, 1] / clicks
    plain, lonely, beside = memory.kinds(clicks)
    ones = float(cells[..., 2].sum() + cells[..., 3].sum() / 2) / clicks
    silent = matching[..., 0] / max(1 - clicks, 1e-300)
    mixed = plain * seen + beside * _echoed(seen, ones)
    mixed[..., 1] += lonely * silent * (1 - ones)
    mixed[..., 2] += lonely * silent * ones
    wrong = (mixed * _WRONG).sum(axis=(2, 3))
    return np.stack((mixed.sum(axis=(2, 3)) - wrong, wrong), axis=-1)


def _echoed(seen: NDArray[np.float64], ones: float) -> NDArray[np.float64]:
    """Let an afterpulse fire as well: in detector 1 with chance *ones*."""
    echoed = np.zeros_like(seen)
    echoed[..., 1] = seen[..., 1] * (1 - ones)
    echoed[..., 2] = seen[..., 2] * ones
    echoed[..., 3] = seen.sum(axis=-1) - echoed[..., 1] - echoed[..., 2]
    return echoed


def count_block(
    chances: NDArray[np.float64], detections: int, rng: np.random.Generator
) -> SiftedCounts:
    """Draw the counts of *detections* clicks; *chances* of :func:`sifted_chances`."""
    rest = max(0.0, 1 - float(chances.sum()))
    drawn = rng.multinomial(detections, np.append(chances.ravel(), rest))[:-1]
    counts = drawn.reshape(chances.shape)
    totals = counts.sum(axis=-1)
    rows = (totals[:, 0], totals[:, 1], counts[:, 0, 1], counts[:, 1, 1])
    return SiftedCounts(*(tuple(row.tolist()) for row in rows))


def span_of_clicks(
    click_probability: float, memory: Memory, count: int, rng: np.random.Generator
) -> int:
    """Draw how many pulses *count* clicks take."""
    quick = click_probability + (1 - click_probability) / memory.afterpulse_pulses
    trapped = int(rng.binomial(count, memory.afterpulse_probability))
    waits = 0
    for chance, clicks in ((click_probability, count - trapped), (quick, trapped)):
        if clicks and chance < 1:
            waits += int(rng.negative_binomial(clicks, chance))
    return waits + count * (1 + memory.dead_pulses)
