"""How long to wait for an answer, from the round trips seen (Jacobson 1988; RFC 6298)."""

from __future__ import annotations

from typing import Final

__all__ = ["RoundTrips"]

_FIRST: Final = 0.25  # seconds, before anything is known; boxes answer HELLO within 0.2
_FLOOR: Final = 0.02  # below this a scheduler's whim would look like a loss
_CEILING: Final = 1.0  # docs/boxlink.md, section 8


class RoundTrips:
    """Smoothed round-trip time and its deviation."""

    def __init__(self) -> None:
        self._mean = 0.0
        self._deviation = 0.0
        self.patience = _FIRST
        """Seconds to wait for an answer before the request is repeated."""

    def observe(self, seconds: float) -> None:
        """Take in one measured round trip."""
        if self._mean:
            self._deviation += (abs(seconds - self._mean) - self._deviation) / 4
            self._mean += (seconds - self._mean) / 8
        else:
            self._mean, self._deviation = seconds, seconds / 2
        self.patience = min(max(self._mean + 4 * self._deviation, _FLOOR), _CEILING)
