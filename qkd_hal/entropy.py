"""The operating system's randomness as an :class:`~qkd_hal.sources.EntropySource`."""

from __future__ import annotations

import os

__all__ = ["SystemEntropy"]


class SystemEntropy:
    """The operating system's generator, which is always there and never fails."""

    def read_into(self, view: memoryview) -> None:
        """Fill *view* with random bytes."""
        view[:] = os.urandom(len(view))
