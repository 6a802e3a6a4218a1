"""What the emitter remembers of its pulses until they are sifted: one byte each."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np

from qkd_hal.distillation.sifting import Emitted
from qkd_hal.errors import ProtocolError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["FrameLog"]


class FrameLog:
    """Cells of consecutive frames; an :class:`~qkd_hal.distillation.sifting.EmissionLog`.

    The light source adds in one thread while the engine looks up in another. *intensities*
    is how many the source has, *first_pulse* where it begins.
    """

    def __init__(self, *, intensities: int, first_pulse: int) -> None:
        self._intensities = intensities
        self._lock = threading.Lock()
        self._frames: list[NDArray[np.uint8]] = []
        self._starts = [first_pulse]  # of each frame, and the end of the last

    @property
    def end(self) -> int:
        """One past the last pulse that was emitted."""
        return self._starts[-1]

    @property
    def held(self) -> int:
        """Pulses that are remembered."""
        with self._lock:
            return self._starts[-1] - self._starts[0]

    def add(self, cells: NDArray[np.uint8]) -> None:
        """Append the next frame; the log owns *cells* from now on."""
        with self._lock:
            self._frames.append(cells)
            self._starts.append(self._starts[-1] + cells.size)

    def states(self, pulses: NDArray[np.int64]) -> Emitted:
        """Return what was prepared in *pulses*, strictly rising.

        Raises:
            ProtocolError: the detector names pulses that are forgotten or were never sent.
        """
        with self._lock:
            if pulses.size and not self._starts[0] <= pulses[0] <= pulses[-1] < self._starts[-1]:
                raise ProtocolError("the detector names pulses that are no longer remembered")
            starts = np.array(self._starts, np.int64)
            parts = np.searchsorted(pulses, starts)
            cells = np.concatenate(
                [
                    frame[pulses[low:high] - start]
                    for frame, start, low, high in zip(
                        self._frames, starts, parts, parts[1:], strict=False
                    )
                ]
                or [np.zeros(0, np.uint8)]
            )
        intensities = cells >> np.uint8(2)
        intensities %= np.uint8(self._intensities)
        return Emitted(cells >> np.uint8(1) & np.uint8(1), cells & np.uint8(1), intensities)

    def discard(self, before: int) -> None:
        """Overwrite and forget the frames that lie wholly below *before*."""
        with self._lock:
            while self._frames and self._starts[1] <= before:
                self._frames.pop(0).fill(0)
                self._starts.pop(0)
