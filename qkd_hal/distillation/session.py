"""The sans-IO engine that distils key with the other end of a link.

Feed :meth:`DistillationSession.receive` whole messages, send what
:meth:`~DistillationSession.outgoing` returns, act on the events. One block::

    DETECTOR                                                     EMITTER
      HELLO(nonce, role, parameters, next block)  <->  HELLO       both, until echoed
      DETECTIONS(which pulses clicked, bases)      -->             spends these pulses
                                                   <--  SIFT(matches, intensities, test bits,
                                                             blocks unconfirmed)
      ESTIMATE(test bits, which of them held)      -->             both check the QBER
      PARITY REQUEST                               -->
                                                   <--  PARITY REPLY     until corrected
      CORRECTED                                    -->
                                                   <--  VERIFY(hash, amplification seed)
      TAG over all of the above                    -->             checks; *stores pending*
                                                   <--  TAG over all of the above
      checks; *stores*; confirmed
      STORED (tagged)                              -->             confirmed

The emitter stores before its tag leaves, so a detector that sees the tag knows. When STORED
is lost, the next block's authenticated transcript settles the old block's fate.

Frames carry a session and a sequence number. Frames of other sessions and repeated frames
are ignored; a gap ends the block. An adversary can stop the two ends from making key; it
cannot make them accept different ones, nor make a queue grow without end.
"""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from typing import TYPE_CHECKING

from qkd_hal.distillation.authentication import AuthenticationPad, MemoryPad, PadPosition
from qkd_hal.distillation.block import Block, BlockTools, Stage
from qkd_hal.distillation.detections import DetectionBuffer
from qkd_hal.distillation.detector import DetectorBlock
from qkd_hal.distillation.emitter import EmitterBlock
from qkd_hal.distillation.events import (
    BlockAborted,
    BlockConfirmed,
    BlockDistilled,
    BlockDropped,
    Event,
    FramesReleased,
    PeerRefused,
    Synchronised,
)
from qkd_hal.distillation.framing import Framing
from qkd_hal.distillation.handshake import Handshake, Role
from qkd_hal.distillation.messages import Abort, Hello, Message, decode
from qkd_hal.distillation.parameters import DistillationParameters
from qkd_hal.distillation.report import BlockReport
from qkd_hal.distillation.sifting import EmissionLog, Emitted
from qkd_hal.distillation.stages import Stages
from qkd_hal.errors import (
    AuthenticationError,
    DistillationError,
    NoSecretKeyError,
    PadExhaustedError,
    ProtocolError,
    QBERError,
    StateError,
    UsageError,
    VerificationError,
)
from qkd_hal.key_ids import MAX_BLOCK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from qkd_hal.sources import DetectionBatch, EntropySource

__all__ = [
    "AuthenticationPad",
    "BlockAborted",
    "BlockConfirmed",
    "BlockDistilled",
    "BlockDropped",
    "BlockReport",
    "DistillationParameters",
    "DistillationSession",
    "EmissionLog",
    "Emitted",
    "Event",
    "FramesReleased",
    "MemoryPad",
    "PeerRefused",
    "Role",
    "Synchronised",
    "Waiting",
]

_MAX_REASON_BYTES = 32

_REASONS: dict[str, type[DistillationError] | type[ProtocolError]] = {
    kind.code: kind
    for kind in (
        AuthenticationError,
        NoSecretKeyError,
        PadExhaustedError,
        ProtocolError,
        QBERError,
        VerificationError,
    )
}


class Waiting(Enum):
    """What the engine waits for; a host keeps the time for PEER and HELLO only."""

    START = "start"  # start() was not called
    HELLO = "hello"  # the peer's HELLO
    PEER = "peer"  # the peer's next message of a block
    STORAGE = "storage"  # stored() from the host
    DETECTIONS = "detections"  # the detector has too few, or is paused; the emitter is idle


class DistillationSession:
    """One end of a link, for as many blocks as the host wants.

    *first_block*: above every block number that this end ever stored.
    *unconfirmed*: blocks stored here without a :class:`BlockConfirmed` or
    :class:`BlockDropped` before a restart. The detector confirms them again at
    :meth:`start`, since the emitter stored first; the emitter asks the detector.
    *holds* (detector): tells whether this end ever stored a block durably, consumed or not;
    without it only *unconfirmed* and the blocks of this object are known.
    *stages*: the methods, the same at both ends; by default those of this package.

    Raises:
        ConfigurationError: from *pad*, when the initial secret is missing or too short.
    """

    def __init__(
        self,
        role: Role,
        parameters: DistillationParameters,
        *,
        pad: AuthenticationPad,
        entropy: EntropySource,
        first_block: int = 0,
        unconfirmed: Iterable[int] = (),
        holds: Callable[[int], bool] | None = None,
        stages: Stages | None = None,
    ) -> None:
        if not 0 <= first_block <= MAX_BLOCK:
            raise UsageError(f"block number {first_block} is out of range")
        self.role = role
        self.parameters = parameters
        self._pad = pad
        self._entropy = entropy
        self._stages = stages = stages or Stages()
        self._next_block = first_block
        self._unconfirmed = sorted(unconfirmed)
        self._known = set(self._unconfirmed)
        self._holds = holds or (lambda _: False)
        self._handshake = Handshake(role, stages.digest(parameters.digest()), entropy)
        self._framing = Framing()
        self._log: EmissionLog | None = None
        self._first_pulse = 0
        self._detections = DetectionBuffer(parameters.detections_per_block)
        self._block: Block | None = None
        self._awaiting_storage: Block | None = None
        self._number = first_block
        self._paused = False

    def attach_emissions(self, log: EmissionLog) -> None:
        """Emitter: give the record of what is sent, before :meth:`start`."""
        self._log = log

    def add_detections(self, batch: DetectionBatch) -> None:
        """Detector: add clicks; a block starts by itself once there are enough."""
        self._detections.add(batch)
        self._start_block()

    @property
    def paused(self) -> bool:
        """True while this end starts no new block (the detector's store is full)."""
        return self._paused

    @paused.setter
    def paused(self, value: bool) -> None:
        self._paused = value
        self._start_block()

    @property
    def busy(self) -> bool:
        """True while a block is under way."""
        return self._block is not None and self._block.stage is not Stage.IDLE

    @property
    def lost_detections(self) -> int:
        """Detector: clicks that did not fit the buffer, since the start."""
        return self._detections.lost

    @property
    def waiting_for(self) -> Waiting:
        """What must come next."""
        if not self._handshake.started:
            return Waiting.START
        if self._awaiting_storage is not None:
            return Waiting.STORAGE
        if self._handshake.peer is None:
            return Waiting.HELLO
        return Waiting.PEER if self.busy else Waiting.DETECTIONS

    def start(self) -> list[Event]:
        """Queue a HELLO; call once.

        Raises:
            StateError: an emitter has no emission log.
        """
        if self.role is Role.EMITTER and self._log is None:
            raise StateError("the emitter needs attach_emissions() before start()")
        self._want_new_light()
        self._framing.hello(self._open_handshake())
        if self.role is Role.EMITTER:
            return []
        confirmed, self._unconfirmed = self._unconfirmed, []
        return [BlockConfirmed(number) for number in confirmed]

    def outgoing(self) -> list[bytes]:
        """Return and forget the messages to send, in order."""
        return self._framing.drain()

    def receive(self, message: bytes) -> list[Event]:
        """Take one whole message from the wire, whatever it holds.

        Faults of the peer or the wire never raise: they end the block with
        :class:`BlockAborted` and a fresh HELLO, or are ignored while no block is under way.
        """
        try:
            return self._receive(message)
        except (DistillationError, ProtocolError) as error:
            # Before both nonces are echoed there is nothing to break, and answering every
            # stray message with a HELLO would let one beget another.
            return [] if self._handshake.peer is None else self._restart(error)

    def stored(self, block: int) -> list[Event]:
        """Go on, now that the host has stored *block* durably.

        A block that was dropped or aborted meanwhile gives no event.
        """
        waiting = self._awaiting_storage
        if waiting is None or waiting.number != block:
            return []
        self._awaiting_storage = None
        self._next_block = max(self._next_block, block + 1)
        if self.role is Role.EMITTER:
            return self._close_emitted(waiting)
        return [BlockConfirmed(block), *self._close_detected(waiting)]

    def abort(self, reason: str) -> list[Event]:
        """Give up the running block, if any, and begin a new session: the host's time-out."""
        self._want_new_light()
        return self._restart(DistillationError(reason))

    def _receive(self, raw: bytes) -> list[Event]:
        if len(raw) > self.parameters.max_message_bytes:
            raise ProtocolError(f"a message of {len(raw)} bytes is longer than any of ours")
        frame = decode(raw)
        if isinstance(frame.message, Hello):
            return self._on_hello(frame.message)
        if self._handshake.peer is None or not self._framing.is_next(frame):
            return []
        if isinstance(frame.message, Abort):
            return self._on_abort(frame.message)
        return self._on_block_message(frame.message, raw)

    def _on_hello(self, hello: Hello) -> list[Event]:
        try:
            self._handshake.check(hello)
            self._check_pad(hello)
        except ProtocolError as error:
            self._leave_idle_session()
            return [PeerRefused(error)]
        if not self._handshake.started or self._handshake.is_settled(hello):
            return []
        if self._handshake.answers_us(hello):
            return self._synchronise(hello)
        events = self._end_block(ProtocolError("the peer began a new session"))
        if self._handshake.peer is not None:
            self._want_new_light()
            self._open_handshake()
        self._framing.hello(self._handshake.answer(hello))
        return events

    def _leave_idle_session(self) -> None:
        """Speak to a peer that came back unfit: from our silence it would never learn why."""
        if self._handshake.peer is not None and not self.busy:
            self._want_new_light()
            self._framing.hello(self._open_handshake())

    def _check_pad(self, hello: Hello) -> None:
        """Refuse to go on with a pad that is older than the peer's memory of it.

        Two tags under one mask would give the hash key away. The emitter need not trust the
        HELLO: the detector's tag is over it, and comes first.
        """
        if PadPosition(hello.segment, hello.offset) >= self._pad.marks.next_sent:
            raise ProtocolError(
                "the peer has seen more of our authentication pad than we remember using",
                cure="A store that was set back must not be used: fresh stores, fresh secret",
            )

    def _synchronise(self, hello: Hello) -> list[Event]:
        if not self._handshake.has_answered(hello):
            self._framing.hello(self._handshake.answer(hello))
        self._handshake.finish(hello)
        self._framing.open(self._handshake.session)
        self._number = self._handshake.first_block
        self._detections.discard(hello.first_pulse)
        self._next_emitter_block()
        self._start_block()
        return [Synchronised(self._handshake.session.hex())]

    def _want_new_light(self) -> None:
        """The peer, or what it had detected, may be gone: go on behind what was emitted."""
        if self._log is not None:
            self._first_pulse = self._log.end
            self._log.discard(self._first_pulse)

    def _open_handshake(self) -> Hello:
        accepted = self._pad.marks.last_accepted
        return self._handshake.open(self._next_block, self._first_pulse, accepted)

    def _restart(self, error: DistillationError | ProtocolError) -> list[Event]:
        """End the block, tell the peer why, and begin a new session."""
        if not self._handshake.started:
            return []
        events = self._end_block(error)
        if self._handshake.peer is not None:
            self._framing.send(Abort(error.code.encode()))
        self._framing.hello(self._open_handshake())
        return events

    def _on_abort(self, message: Abort) -> list[Event]:
        kind = _REASONS.get(message.reason[:_MAX_REASON_BYTES].decode(errors="replace"))
        error = (kind or DistillationError)("the peer gave the block up")
        events = self._end_block(error)
        self._framing.hello(self._open_handshake())
        return events

    def _on_block_message(self, message: Message, raw: bytes) -> list[Event]:
        block = self._block
        if block is None:
            raise ProtocolError(f"a {type(message).__name__} message without a block")
        events = block.receive(message, raw)
        settled = {e.number for e in events if isinstance(e, BlockConfirmed | BlockDropped)}
        self._unconfirmed = [n for n in self._unconfirmed if n not in settled]
        if block.stage is Stage.DISTILLED:
            self._awaiting_storage = block
        elif block.number in settled:
            self._finish_block(block)
            self._next_emitter_block()
        return events

    def _close_emitted(self, block: Block) -> list[Event]:
        try:
            block.close()
        except DistillationError as error:
            return self._restart(error)
        self._unconfirmed.append(block.number)
        return []

    def _close_detected(self, block: Block) -> list[Event]:
        # Older blocks need no memory: the emitter settled them before it sealed this one.
        self._known = {block.number}
        if block is not self._block:
            return []  # the session ended while the host stored: the next block tells
        try:
            block.close()
        except DistillationError as error:
            return self._restart(error)
        self._finish_block(block)
        self._start_block()
        return []

    def _finish_block(self, block: Block) -> None:
        self._spend(block)
        self._block = None
        self._number = block.number + 1

    def _end_block(self, error: DistillationError | ProtocolError) -> list[Event]:
        """Wipe the running block; what a host must forget is in the events."""
        block, self._block = self._block, None
        if block is None or block.stage is Stage.IDLE:
            return []
        self._spend(block)
        block.wipe()
        if block.stage is Stage.CLOSED or self._survives(block):
            return []
        if block.stage is Stage.DISTILLED:
            self._next_block = max(self._next_block, block.number)
        self._next_block += 1
        self._awaiting_storage = None
        aborted = BlockAborted(block.number, error, replace(block.report, aborted=error.code))
        dropped = [BlockDropped(block.number)] if block.stage is Stage.DISTILLED else []
        return [*dropped, aborted]

    def _survives(self, block: Block) -> bool:
        # The emitter stored it before its tag left, so the detector may keep it.
        return self.role is Role.DETECTOR and block.stage is Stage.DISTILLED

    def _spend(self, block: Block) -> None:
        if isinstance(block, EmitterBlock):
            self._first_pulse = max(self._first_pulse, block.end_pulse)

    def _next_emitter_block(self) -> None:
        if self._log is not None and self.role is Role.EMITTER:
            self._block = EmitterBlock(
                self._number, self._tools(), self._log, self._first_pulse, self._unconfirmed
            )

    def _start_block(self) -> None:
        ready = self._handshake.peer is not None and self._detections.ready
        free = self._block is None and self._awaiting_storage is None
        if self.role is Role.DETECTOR and ready and free and not self._paused:
            block = DetectorBlock(self._number, self._tools(), self._detections.cut(), self._held)
            self._block = block
            block.start()

    def _held(self, number: int) -> bool:
        return number in self._known or self._holds(number)

    def _tools(self) -> BlockTools:
        context = self._handshake.context
        send = self._framing.send
        return BlockTools(self.parameters, self._stages, self._pad, self._entropy, context, send)
