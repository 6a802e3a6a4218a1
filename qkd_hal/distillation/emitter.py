"""The emitter's end of a block: it answers, and its key is the reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qkd_hal.distillation.bits import pack_bits, random_bits, random_bytes, unpack_bits
from qkd_hal.distillation.block import Block, Stage
from qkd_hal.distillation.detection_codec import pack_pattern, unpack_pattern, unpack_pulses
from qkd_hal.distillation.estimation import estimate
from qkd_hal.distillation.events import BlockConfirmed, BlockDropped, FramesReleased
from qkd_hal.distillation.messages import (
    Corrected,
    Detections,
    Estimate,
    ParityReply,
    ParityRequest,
    Sift,
    Stored,
    Tag,
    Verify,
)
from qkd_hal.distillation.reconciliation import ParityQuery
from qkd_hal.distillation.sifting import sift_matching
from qkd_hal.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from qkd_hal.distillation.block import BlockTools
    from qkd_hal.distillation.estimation import Estimation
    from qkd_hal.distillation.events import Event
    from qkd_hal.distillation.reconciliation import ParityOracle
    from qkd_hal.distillation.sifting import EmissionLog, Sifted

__all__ = ["EmitterBlock"]


class EmitterBlock(Block):
    """Sends the reference key's parities, hash and seeds; never the key.

    *first_pulse*: pulses below it are gone. *unconfirmed*: stored blocks whose fate at the
    detector this block's transcript will settle.
    """

    def __init__(
        self,
        number: int,
        tools: BlockTools,
        log: EmissionLog,
        first_pulse: int,
        unconfirmed: Sequence[int],
    ) -> None:
        super().__init__(number, tools)
        self._log = log
        self._first_pulse = first_pulse
        self._unconfirmed = unconfirmed
        self._held: NDArray[np.uint8]
        self._sifted: Sifted
        self._estimation: Estimation
        self._oracle: ParityOracle
        self._seed = b""
        self._matrix: NDArray[np.uint8]
        self._length = 0
        self.end_pulse = first_pulse
        self.await_next(Detections, self._on_detections)

    def close(self) -> None:
        """The host has stored the block: tell the detector."""
        sealed = self._transcript.seal()
        tag = Tag(*sealed.position, sealed.tag)
        self._closing = self.tools.frame(tag)
        self.stage = Stage.CLOSED
        self.await_next(Stored, self._on_stored)

    def _on_detections(self, message: Detections, raw: bytes) -> list[Event]:
        pulses = self._pulses(message)
        bases = unpack_pattern(message.bases, len(pulses))
        self.heard(raw)
        self.stage = Stage.RUNNING
        # From here on these pulses are spent, whatever becomes of the block: their bases
        # are public, and a second block from them would have no secrecy.
        states = self._log.states(pulses)
        self._log.discard(message.end_pulse)
        self.end_pulse = message.end_pulse
        self._sift(states.bits, states.bases, states.intensities, states.bases == bases)
        self.tally(detections=len(pulses), pulses=message.end_pulse - message.first_pulse)
        self.await_next(Estimate, self._on_estimate)
        return [FramesReleased(message.end_pulse)]

    def _pulses(self, message: Detections) -> NDArray[np.int64]:
        if message.count != self.parameters.detections_per_block:
            raise ProtocolError(f"a block of {message.count} detections was not agreed on")
        if not self._first_pulse <= message.first_pulse < message.end_pulse <= self._log.end:
            raise ProtocolError("the detector names pulses that were used or never sent")
        block = message.first_pulse, message.end_pulse
        return unpack_pulses(message.gaps, message.count, *block)

    def _sift(
        self,
        bits: NDArray[np.uint8],
        bases: NDArray[np.uint8],
        intensities: NDArray[np.uint8],
        matches: NDArray[np.bool_],
    ) -> None:
        levels = self._levels(intensities, matches)
        self._sifted = sift_matching(bits, bases, matches, levels)
        self.guard(self._sifted)
        self._seed = random_bytes(self.tools.entropy, 16)
        self.say(
            Sift(
                self._seed,
                pack_pattern(bases),
                pack_pattern(levels % 2 == 1),
                pack_pattern(levels > 1),
                pack_bits(self._sifted.test_bits),
                np.array(self._unconfirmed, ">u8").tobytes(),
            )
        )

    def _levels(
        self, intensities: NDArray[np.uint8], matches: NDArray[np.bool_]
    ) -> NDArray[np.uint8]:
        if self.parameters.levels == 1:
            return np.zeros(np.count_nonzero(matches), np.uint8)
        return intensities[matches]

    def _on_estimate(self, message: Estimate, raw: bytes) -> list[Event]:
        mine = self._sifted
        theirs = unpack_bits(message.test_bits, len(mine.test_bits))
        self._held = unpack_bits(message.held, len(self._unconfirmed))
        self.heard(raw)
        self._estimation = estimate(mine, theirs, self.parameters.levels)
        self.judge(self._estimation)
        self._oracle = self.tools.stages.reconciliation.oracle(mine.key_bits, self._seed)
        self.guard(self._oracle)
        self._await_request()
        return []

    def _await_request(self) -> None:
        self.await_next(ParityRequest, self._on_request)
        self._handlers[Corrected] = self._on_corrected

    def _on_request(self, message: ParityRequest, raw: bytes) -> list[Event]:
        query = ParityQuery.from_bytes(message.question)
        self.heard(raw)
        parities = self._oracle.answer(query)
        self.say(ParityReply(len(parities), pack_bits(parities)))
        return []

    def _on_corrected(self, message: Corrected, raw: bytes) -> list[Event]:
        self._estimation = self._estimation.with_key_errors(message.errors, self.parameters)
        self.heard(raw)
        key = self._sifted.key_bits
        self._length = self.key_length(self._estimation, self._oracle.leaked_bits)
        seed = random_bytes(self.tools.entropy, 16)
        stages = self.tools.stages
        size = stages.amplification.seed_bits(len(key), self._length)
        self._matrix = random_bits(self.tools.entropy, size)
        self.say(Verify(seed, stages.verification.hash(key, seed), pack_bits(self._matrix)))
        self.await_next(Tag, self._on_tag)
        return []

    def _on_tag(self, message: Tag, raw: bytes) -> list[Event]:
        self.check_tag(message, raw)
        self.await_nothing()
        distilled = self.distil(self._sifted.key_bits, self._matrix, self._length)
        return [*self._settled(), distilled]

    def _settled(self) -> list[Event]:
        return [
            BlockConfirmed(number) if held else BlockDropped(number)
            for number, held in zip(self._unconfirmed, self._held.tolist(), strict=True)
        ]

    def _on_stored(self, message: Stored, _: bytes) -> list[Event]:
        self.check_stored(message)
        self.await_nothing()
        return [BlockConfirmed(self.number)]
