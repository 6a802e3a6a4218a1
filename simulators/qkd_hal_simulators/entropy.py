"""Randomness of the simulated modem: the operating system's, or a seed to replay a run."""

from __future__ import annotations

import os

import numpy as np

__all__ = ["SeededEntropy", "SystemEntropy"]


class SystemEntropy:
    """The operating system's generator; an :class:`~qkd_hal.sources.EntropySource`."""

    def read_into(self, view: memoryview) -> None:
        """Fill *view* with random bytes."""
        view[:] = os.urandom(len(view))


class SeededEntropy:
    """The same bytes in every run: for tests that must replay, never for keys."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    def read_into(self, view: memoryview) -> None:
        """Fill *view* with bytes that *seed* determines."""
        view[:] = self._rng.bytes(len(view))
