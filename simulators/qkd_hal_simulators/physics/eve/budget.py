"""What Eve can afford: a limit on the pulses that she touches, enforced frame by frame."""

from __future__ import annotations

from dataclasses import dataclass, field

from qkd_hal.errors import UsageError

__all__ = ["Budget"]


@dataclass(slots=True)
class Budget:
    """Pulses with light that Eve may tap: *total* of a run, *per_second* of link time.

    Link time is counted in pulses of *clock_hz*, so that a seed replays a limited Eve too.
    What she does not use she cannot save: in any run of frames that lasts t seconds she taps
    at most ``per_second * t + 1`` pulses.

    Raises:
        UsageError: a limit is negative.
    """

    total: int | None = None
    per_second: float | None = None
    clock_hz: float = 1e9
    spent: int = field(default=0, init=False)
    refused: int = field(default=0, init=False)
    _credit: float = field(default=0.0, init=False, repr=False)

    def __post_init__(self) -> None:
        if (self.total or 0) < 0 or not (self.per_second or 0) >= 0:
            raise UsageError("Eve's budget is negative", cure="Give limits of 0 or more pulses")

    def grant(self, wanted: int, pulse_count: int) -> int:
        """Return how many of *wanted* pulses she may tap in a frame of *pulse_count*."""
        allowed = wanted
        if self.total is not None:
            allowed = min(allowed, self.total - self.spent)
        if self.per_second is not None:
            allowed = min(allowed, self._earn(pulse_count))
            # A fraction of a pulse carries over, or slow rates would round down to nothing.
            self._credit = min(self._credit - allowed, 1.0)
        self.spent += allowed
        self.refused += wanted - allowed
        return allowed

    def _earn(self, pulse_count: int) -> int:
        self._credit += (self.per_second or 0.0) * pulse_count / self.clock_hz
        return int(self._credit)
