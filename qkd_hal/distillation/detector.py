"""The detector's end of a block: it starts, asks, and corrects its key."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from qkd_hal.distillation.bits import pack_bits, unpack_bits
from qkd_hal.distillation.block import Block, Stage
from qkd_hal.distillation.detection_codec import pack_pattern, pack_pulses, unpack_pattern
from qkd_hal.distillation.estimation import UncorrectedKey, check_qber, estimate
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
from qkd_hal.distillation.sifting import sift_matching
from qkd_hal.distillation.verification import verify
from qkd_hal.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from qkd_hal.distillation.block import BlockTools
    from qkd_hal.distillation.estimation import Estimation
    from qkd_hal.distillation.events import Event
    from qkd_hal.distillation.reconciliation import ParityQuery, Reconciler
    from qkd_hal.distillation.sifting import Sifted
    from qkd_hal.sources import DetectionBatch

__all__ = ["MAX_IN_FLIGHT", "MAX_UNCONFIRMED", "DetectorBlock"]

MAX_IN_FLIGHT = 64  # blocks at once; docs/distillation.md says what memory one takes
MAX_UNCONFIRMED = 2 * MAX_IN_FLIGHT  # honest emitters have a window's: the next tag settles them


class DetectorBlock(Block):
    """Corrects its key to the emitter's.

    *holds* says whether this end has durably stored a block.
    """

    def __init__(
        self,
        number: int,
        tools: BlockTools,
        batch: DetectionBatch,
        holds: Callable[[int], bool],
    ) -> None:
        super().__init__(number, tools)
        self._batch = batch
        self._holds = holds
        self._sifted: Sifted
        self._uncorrected: UncorrectedKey
        self._estimation: Estimation
        self._reconciler: Reconciler
        self._asked = 0
        self._leak_bits = 0
        self._matrix: NDArray[np.uint8]
        self._length = 0
        count = len(batch.pulses)
        self.tally(detections=count, pulses=batch.end_pulse - batch.first_pulse)

    def start(self) -> None:
        """Announce which pulses clicked."""
        self.stage = Stage.RUNNING
        batch = self._batch
        gaps = pack_pulses(batch.pulses, batch.first_pulse)
        bases = pack_pattern(batch.bases)
        ends = (batch.first_pulse, batch.end_pulse)
        self.say(Detections(*ends, len(batch.pulses), gaps, bases))
        # The numbers are four times as long as all that is still needed, and windows are long.
        self._batch = replace(batch, pulses=np.zeros(0, np.int64))
        self.await_next(Sift, self._on_sift)

    def wipe(self) -> None:
        """Overwrite the raw key; safe to call again."""
        super().wipe()
        self._batch.bits.fill(0)

    def close(self) -> None:
        """The host has stored the block: tell the emitter."""
        sealed = self.stored_transcript().seal()
        self.tools.frame(Stored(*sealed.position, sealed.tag))
        self.stage = Stage.CLOSED

    def _on_sift(self, message: Sift, raw: bytes) -> list[Event]:
        batch = self._batch
        bases = unpack_pattern(message.bases, len(batch.bases))
        matches = bases == batch.bases
        levels = self._levels(message, int(np.count_nonzero(matches)))
        self._sifted = sift_matching(batch.bits, batch.bases, matches, levels)
        self.guard(self._sifted)
        self._uncorrected = UncorrectedKey(self._sifted)
        self.guard(self._uncorrected)
        theirs = unpack_bits(message.test_bits, len(self._sifted.test_bits))
        held = self._held(message.unconfirmed)
        self.heard(raw)
        self._estimation = estimate(self._sifted, theirs, self.parameters.levels)
        qber = self._estimation.qber
        reconciliation = self.tools.stages.reconciliation
        self._reconciler = reconciliation.reconciler(self._sifted.key_bits, message.seed, qber)
        self.guard(self._reconciler)
        self.say(Estimate(pack_bits(self._sifted.test_bits), pack_bits(held)))
        self.judge(self._estimation)
        self._ask(self._reconciler.begin())
        return []

    def _levels(self, message: Sift, count: int) -> NDArray[np.uint8]:
        low = unpack_pattern(message.intensities_low, count)
        levels = low + 2 * unpack_pattern(message.intensities_high, count)
        if (levels >= self.parameters.levels).any():
            raise ProtocolError("the emitter names an intensity that it does not have")
        return levels

    def _held(self, unconfirmed: bytes) -> NDArray[np.bool_]:
        count, rest = divmod(len(unconfirmed), 8)
        if rest or count > MAX_UNCONFIRMED:
            raise ProtocolError("the emitter's list of unconfirmed blocks is malformed")
        numbers = np.frombuffer(unconfirmed, ">u8").tolist()
        return np.array([self._holds(number) for number in numbers], bool)

    def _ask(self, query: ParityQuery | None) -> None:
        # An eavesdropper may keep to the basis that is not tested: end it as soon as that shows.
        qber = self._reconciler.corrected_bits / len(self._sifted.key_bits)
        if query is None or qber > self.parameters.qber_threshold:
            self.tally(key_qber=qber)
        check_qber(qber, self.parameters.qber_threshold)
        if query is None:
            errors = self._uncorrected.errors(self.parameters)
            self._estimation = self._estimation.with_key_errors(errors, self.parameters)
            self.say(Corrected(errors))
            self.await_next(Verify, self._on_verify)
            return
        self._asked = len(query)
        self.say(ParityRequest(query.to_bytes()))
        self.await_next(ParityReply, self._on_reply)

    def _on_reply(self, message: ParityReply, raw: bytes) -> list[Event]:
        if message.count != self._asked:
            raise ProtocolError("a parity reply answers another question")
        parities = unpack_bits(message.parities, message.count)
        self.heard(raw)
        self._leak_bits += message.count
        self._ask(self._reconciler.answer(parities))
        return []

    def _on_verify(self, message: Verify, raw: bytes) -> list[Event]:
        key = self._sifted.key_bits
        self.heard(raw)
        self._length = self.key_length(self._estimation, self._leak_bits)
        stages = self.tools.stages
        verify(stages.verification.hash(key, message.hash_seed), message.hash)
        size = stages.amplification.seed_bits(len(key), self._length)
        self._matrix = unpack_bits(message.toeplitz_seed, size)
        self.stage = Stage.VERIFIED
        self.await_nothing()
        return []

    def seal(self) -> None:
        """Authenticate the discussion; the keys agree.

        Raises:
            PadExhaustedError: there is no mask for the tag.
        """
        sealed = self._transcript.seal()
        self.say(Tag(*sealed.position, sealed.tag))
        self.stage = Stage.SEALED
        self.await_next(Tag, self._on_tag)

    def _on_tag(self, message: Tag, raw: bytes) -> list[Event]:
        self.check_tag(message, raw)
        self._closing = raw
        self.await_nothing()
        return [self.distil(self._sifted.key_bits, self._matrix, self._length)]
