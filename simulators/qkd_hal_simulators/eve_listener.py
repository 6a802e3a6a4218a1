"""What Eve hears on the classical channel, and what her notes are worth by it.

She only listens. Which pulses clicked, in which bases, at which intensities, and all test
bits are public: she learns what the two learn of the channel, and for each sifted bit how
well she knows it.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from qkd_hal.distillation.bits import unpack_bits
from qkd_hal.distillation.detection_codec import unpack_pattern, unpack_pulses
from qkd_hal.distillation.estimation import Estimation
from qkd_hal.distillation.messages import Detections, Estimate, Frame, Sift, decode
from qkd_hal.distillation.sifting import KEY_BASIS, TEST_BASIS
from qkd_hal.errors import ProtocolError
from qkd_hal_simulators.physics.eve.knowledge import Knowledge

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qkd_hal_simulators.physics.eve.notebook import Notebook

__all__ = ["Listener", "Overheard"]

_MAX_OPEN = 64  # announcements that wait for their answer: more than two ends have in flight


@dataclass(frozen=True, slots=True)
class Overheard:
    """The public side of all blocks so far: ``pulses`` gave ``detections``.

    ``knowledge`` is of all sifted key bits; ``last`` is the estimate of the latest block
    whose test bits both ends have announced.
    """

    blocks: int = 0
    pulses: int = 0
    detections: int = 0
    knowledge: Knowledge = field(default_factory=Knowledge)
    last: Estimation | None = None


@dataclass(slots=True)
class _Block:
    announced: Detections
    pulses: NDArray[np.int64]
    bases: NDArray[np.uint8]
    sift: _Sifted | None = None


@dataclass(frozen=True, slots=True)
class _Sifted:
    """Intensities of the key bits; intensities and the emitter's values of the test bits."""

    key_levels: NDArray[np.uint8]
    test_levels: NDArray[np.uint8]
    test_bits: NDArray[np.uint8]


class Listener:
    """Sets the *notes* against what is announced; *levels*: how many intensities there are.

    One thread tells it what was said; any may look at :attr:`overheard`.
    """

    def __init__(self, notes: Notebook, *, levels: int) -> None:
        self._notes = notes
        self._levels = levels
        self._blocks: dict[tuple[bytes, int], _Block] = {}
        self._lock = threading.Lock()
        self._overheard = Overheard()

    @property
    def overheard(self) -> Overheard:
        """All that she knows so far."""
        with self._lock:
            return self._overheard

    def hear(self, message: bytes) -> None:
        """Take one message of either engine; what is none, or makes no sense, tells nothing."""
        try:
            frame = decode(message)
            match frame.message:
                case Detections():
                    self._on_detections(frame, frame.message)
                case Sift():
                    self._on_sift(frame, frame.message)
                case Estimate():
                    self._on_estimate(frame, frame.message)
        except ProtocolError:
            return

    def _on_detections(self, frame: Frame, message: Detections) -> None:
        ends = message.first_pulse, message.end_pulse
        pulses = unpack_pulses(message.gaps, message.count, *ends)
        bases = unpack_pattern(message.bases, message.count)
        if len(self._blocks) >= _MAX_OPEN:
            self._blocks.pop(next(iter(self._blocks)))
        self._blocks[_name(frame)] = _Block(message, pulses, bases)

    def _on_sift(self, frame: Frame, message: Sift) -> None:
        block = self._blocks.get(_name(frame))
        if block is None or block.sift is not None:
            return
        same = np.flatnonzero(unpack_pattern(message.bases, len(block.pulses)) == block.bases)
        bases = block.bases[same]
        levels = self._read_levels(message, len(same))
        tested = levels[bases == TEST_BASIS]
        test_bits = unpack_bits(message.test_bits, len(tested))
        block.sift = _Sifted(levels[bases == KEY_BASIS], tested, test_bits)
        key = same[bases == KEY_BASIS]
        guesses = self._notes.read(block.pulses[key], block.bases[key])
        self._notes.discard(block.announced.end_pulse)
        self._add(block, guesses.knowledge)

    def _read_levels(self, message: Sift, count: int) -> NDArray[np.uint8]:
        low = unpack_pattern(message.intensities_low, count)
        levels = low + 2 * unpack_pattern(message.intensities_high, count)
        if (levels >= self._levels).any():
            raise ProtocolError("the emitter names an intensity that it does not have")
        return levels

    def _add(self, block: _Block, knowledge: Knowledge) -> None:
        with self._lock:
            before = self._overheard
            self._overheard = Overheard(
                blocks=before.blocks + 1,
                pulses=before.pulses + block.announced.end_pulse - block.announced.first_pulse,
                detections=before.detections + len(block.pulses),
                knowledge=before.knowledge + knowledge,
                last=before.last,
            )

    def _on_estimate(self, frame: Frame, message: Estimate) -> None:
        block = self._blocks.pop(_name(frame), None)
        if block is None or block.sift is None:
            return
        sift = block.sift
        theirs = unpack_bits(message.test_bits, len(sift.test_bits))
        groups = (sift.key_levels, sift.test_levels, sift.test_levels[theirs != sift.test_bits])
        counts = (tuple(np.bincount(g, minlength=self._levels).tolist()) for g in groups)
        with self._lock:
            self._overheard = replace(self._overheard, last=Estimation(*counts))


def _name(frame: Frame) -> tuple[bytes, int]:
    return frame.session, frame.block
