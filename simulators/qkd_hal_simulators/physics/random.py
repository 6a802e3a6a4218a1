"""Random draws that are exact and cheap: 16 random bits decide, more only where they must."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qkd_hal.sources import EntropySource

__all__ = ["DiscreteSampler", "bernoulli", "distinct_positions", "geometric", "physical_generator"]

_STEPS = 1 << 16
_AMBIGUOUS = 255


def physical_generator(entropy: EntropySource | int) -> np.random.Generator:
    """Return a generator seeded by 32 bytes of *entropy*, or by a number (replays only)."""
    if isinstance(entropy, int):
        return np.random.Generator(np.random.SFC64(entropy))
    seed = bytearray(32)
    entropy.read_into(memoryview(seed))
    sequence = np.random.SeedSequence(int.from_bytes(seed, "big"), pool_size=8)
    return np.random.Generator(np.random.SFC64(sequence))


def bernoulli(rng: np.random.Generator, probability: float, count: int) -> NDArray[np.bool_]:
    """Return *count* independent booleans, each true with *probability*."""
    threshold, rest = divmod(probability * _STEPS, 1.0)
    draws = _sixteen_bits(rng, count)
    hits = draws < threshold
    edge = np.flatnonzero(draws == threshold)
    hits[edge] = rng.random(edge.size) < rest
    return hits


def distinct_positions(
    rng: np.random.Generator, probability: float, count: int
) -> NDArray[np.int64]:
    """Return which of *count* rare independent events happened, rising."""
    wanted = int(rng.binomial(count, probability))
    found = np.zeros(0, np.int64)
    while found.size < wanted:
        more = rng.integers(0, count, wanted - found.size)
        found = np.union1d(found, more)
    return found


def geometric(rng: np.random.Generator, probability: float, count: int) -> NDArray[np.int64]:
    """Return *count* numbers of trials up to and with the first success, at least 1.

    The whole part of an exponential variable: four times as fast as numpy's own.
    """
    if probability >= 1:
        return np.ones(count, np.int64)
    waits = rng.standard_exponential(count)
    waits /= -math.log1p(-probability)
    trials = waits.astype(np.int64)
    trials += 1
    return trials


class DiscreteSampler:
    """Draws cell numbers 0..n-1 (n < 255) with given probabilities.

    A 64 KiB table turns 16 random bits into a cell; only the bits that straddle two cells
    look further, so that the distribution is that of a 53-bit draw.
    """

    def __init__(self, probabilities: Sequence[float]) -> None:
        weights = np.asarray(probabilities, np.float64)
        self._edges = np.cumsum(weights / weights.sum())
        self._edges[-1] = 1.0
        steps = np.arange(_STEPS + 1) / _STEPS
        cells = np.searchsorted(self._edges[:-1], steps, side="right")
        straddles = cells[:-1] != cells[1:]
        self._table = np.where(straddles, _AMBIGUOUS, cells[:-1]).astype(np.uint8)

    def draw(self, rng: np.random.Generator, count: int) -> NDArray[np.uint8]:
        """Return *count* independent cell numbers."""
        draws = _sixteen_bits(rng, count)
        cells = self._table[draws]
        unsure = np.flatnonzero(cells == _AMBIGUOUS)
        fine = (draws[unsure] + rng.random(unsure.size)) / _STEPS
        cells[unsure] = np.searchsorted(self._edges[:-1], fine, side="right")
        return cells


def _sixteen_bits(rng: np.random.Generator, count: int) -> NDArray[np.uint16]:
    return np.frombuffer(rng.bytes(2 * count), np.uint16)
