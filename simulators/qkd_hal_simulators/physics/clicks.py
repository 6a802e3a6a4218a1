"""Clicks of a receiver with two detectors, before double clicks become bits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qkd_hal.sources import DetectionBatch
from qkd_hal_simulators.physics.random import bernoulli

__all__ = ["BOTH", "ONE", "ZERO", "Clicks"]

ZERO, ONE, BOTH = 1, 2, 3  # which of the two detectors clicked: a bit each


@dataclass(frozen=True, slots=True, eq=False)
class Clicks:
    """``pulses``: int64, strictly rising; ``bases`` and ``patterns`` (1 to 3): uint8."""

    pulses: NDArray[np.int64]
    bases: NDArray[np.uint8]
    patterns: NDArray[np.uint8]

    def detections(self, span: tuple[int, int], rng: np.random.Generator) -> DetectionBatch:
        """Return what distillation sees of pulses ``[span[0], span[1])``.

        A double click becomes a random bit, as the analysis of Lim 2014 requires.
        """
        bits = (self.patterns == ONE).astype(np.uint8)
        double = np.flatnonzero(self.patterns == BOTH)
        bits[double] = bernoulli(rng, 0.5, double.size)
        return DetectionBatch(self.pulses, self.bases, bits, span[0], span[1])
