"""Randomness of the simulated modem: the operating system's."""

from __future__ import annotations

import os

__all__ = ["SystemEntropy"]


class SystemEntropy:
    """The operating system's generator; an :class:`~qkd_hal.sources.EntropySource`."""

    def read_into(self, view: memoryview) -> None:
        """Fill *view* with random bytes."""
        view[:] = os.urandom(len(view))
