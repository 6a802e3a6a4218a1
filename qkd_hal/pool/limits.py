"""A bound on how fast one peer's name may be used to try key IDs that do not exist."""

from __future__ import annotations

import time
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FailureLimit"]


class FailureLimit:
    """A token bucket that only failures empty: *burst* at once, then *rate* per second.

    Whoever can send first messages in a peer's name can empty it and so keep that peer's real
    keys out; the default is therefore far above what honest mistakes cause, and guessing a
    42-bit check at that rate takes a century.
    """

    def __init__(
        self, rate: float = 1000.0, burst: int = 10_000, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._lock = Lock()
        self._tokens = float(burst)
        self._at = clock()
        self.count = 0  # failures since the start

    def exceeded(self) -> bool:
        """Tell whether the bucket is empty now."""
        with self._lock:
            now = self._clock()
            self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
            self._at = now
            return self._tokens < 1

    def failed(self) -> None:
        """Book one failure."""
        with self._lock:
            self.count += 1
            self._tokens -= 1
