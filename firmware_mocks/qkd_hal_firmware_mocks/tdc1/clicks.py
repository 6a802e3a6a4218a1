"""What the detectors at a time-stamp unit see: endless pulses on its four inputs."""

from __future__ import annotations

import heapq
import random
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["TICKS_PER_SECOND", "steady_clicks"]

TICKS_PER_SECOND = 500_000_000  # 2 ns each


def steady_clicks(
    rates_hz: Sequence[float], *, seed: int, grid_hz: int | None = None
) -> Iterator[tuple[int, int]]:
    """Yield ``(tick, pattern)`` in order of time: Poissonian clicks at *rates_hz* per input.

    Bit n of *pattern* is input n + 1. With *grid_hz*, clicks fall on the pulses of a laser of
    that rate, so that several inputs may click within one pulse.
    """
    channels = [
        _channel(rate, 1 << number, random.Random(f"{seed}/{number}"), grid_hz)  # noqa: S311
        for number, rate in enumerate(rates_hz)
        if rate > 0
    ]
    for tick, together in groupby(heapq.merge(*channels), key=lambda click: click[0]):
        pattern = 0
        for _, bit in together:
            pattern |= bit
        yield tick, pattern


def _channel(
    rate: float, bit: int, rng: random.Random, grid_hz: int | None
) -> Iterator[tuple[int, int]]:
    seconds, last = 0.0, -1
    while True:
        seconds += rng.expovariate(rate)
        tick = round(seconds * TICKS_PER_SECOND)
        if grid_hz is not None:
            tick = round(seconds * grid_hz) * TICKS_PER_SECOND // grid_hz
        if tick > last:
            yield tick, bit
            last = tick
