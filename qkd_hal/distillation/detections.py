"""The detector's clicks that wait for a block: bounded, in pulse order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qkd_hal.sources import DetectionBatch

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["DetectionBuffer", "join_batches"]

_MAX_BLOCKS = 4  # a host that outruns distillation by more loses photons, not memory
_SMALL_BATCH = 4096  # clicks; smaller ones are joined, which copies little


class DetectionBuffer:
    """Collects batches and cuts blocks of *size* detections off the front."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._batches: list[DetectionBatch] = []
        self._count = 0
        self._first_pulse = 0
        self._next_pulse = 0
        self.lost = 0

    @property
    def ready(self) -> bool:
        """True when a block can be cut."""
        return self._count >= self._size

    def add(self, batch: DetectionBatch) -> None:
        """Append *batch*; one that starts earlier than the last ended begins a new emission.

        Light from before the session is of no use: it is dropped.
        """
        if batch.end_pulse <= self._first_pulse:
            self.lost += len(batch.pulses)
            return
        if batch.first_pulse < self._next_pulse:
            self.clear()
        self._next_pulse = batch.end_pulse
        room = _MAX_BLOCKS * self._size - self._count
        if len(batch.pulses) > room:
            self.lost += len(batch.pulses) - room
            batch = _slice(batch, slice(0, room), batch.first_pulse, batch.end_pulse)
        self._append(batch)
        self._count += len(batch.pulses)

    def clear(self) -> None:
        """Forget everything."""
        self._batches.clear()
        self._count = 0

    def discard(self, before: int) -> None:
        """Forget detections of pulses below *before*, and take no more of them."""
        self._first_pulse = before
        if self._batches and self._batches[0].first_pulse < before:
            whole = join_batches(self._batches)
            self.clear()
            self._put_back(whole, int(np.searchsorted(whole.pulses, before)), before)

    def cut(self) -> DetectionBatch:
        """Take the first block; call only when :attr:`ready`."""
        counts = np.cumsum([len(batch.pulses) for batch in self._batches])
        enough = int(np.searchsorted(counts, self._size)) + 1
        whole, self._batches = join_batches(self._batches[:enough]), self._batches[enough:]
        self._count -= len(whole.pulses)
        end = int(whole.pulses[self._size - 1]) + 1
        self._put_back(whole, self._size, end)
        return _slice(whole, slice(0, self._size), whole.first_pulse, end)

    def _append(self, batch: DetectionBatch) -> None:
        # Frames without light would otherwise pile up for as long as somebody sends them.
        if self._batches and len(self._batches[-1].pulses) < _SMALL_BATCH:
            batch = join_batches([self._batches.pop(), batch])
        self._batches.append(batch)

    def _put_back(self, whole: DetectionBatch, start: int, first_pulse: int) -> None:
        """Let what *whole* holds from place *start* on be the first of what waits."""
        end = max(first_pulse, whole.end_pulse)
        rest = _slice(whole, slice(start, None), first_pulse, end)
        self._batches.insert(0, rest)
        self._count += len(rest.pulses)


def join_batches(batches: list[DetectionBatch]) -> DetectionBatch:
    """Return one batch of all that *batches*, at least one and in pulse order, hold."""
    if len(batches) == 1:
        return batches[0]
    return DetectionBatch(
        np.concatenate([batch.pulses for batch in batches]),
        np.concatenate([batch.bases for batch in batches]),
        np.concatenate([batch.bits for batch in batches]),
        batches[0].first_pulse,
        batches[-1].end_pulse,
    )


def _slice(batch: DetectionBatch, part: slice, first_pulse: int, end_pulse: int) -> DetectionBatch:
    def own(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return values[part].copy()

    pulses = batch.pulses[part].copy()
    return DetectionBatch(pulses, own(batch.bases), own(batch.bits), first_pulse, end_pulse)
