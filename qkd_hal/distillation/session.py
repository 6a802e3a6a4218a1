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
is lost, the next session's first authenticated transcript settles the old block's fate.

Up to ``max_in_flight`` blocks run at once, each with its own transcript, so that a long round
trip costs no rate. The detector sends its tags in block order; all that follows, storing and
confirming, keeps that order. A block that is found bad by itself (QBER, no secret bits, keys
that differ) ends alone: each end says ABORT for it once, and what is still under way is ignored.

Frames carry a session and a sequence number. Frames of other sessions and repeated frames
are ignored; a gap ends the session. An adversary can stop the two ends from making key; it
cannot make them accept different ones, nor make a queue grow without end.
"""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING

from qkd_hal.distillation.authentication import AuthenticationPad, MemoryPad, PadPosition
from qkd_hal.distillation.block import Block, BlockTools, Stage
from qkd_hal.distillation.detections import DetectionBuffer
from qkd_hal.distillation.detector import MAX_IN_FLIGHT, MAX_UNCONFIRMED, DetectorBlock
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
from qkd_hal.distillation.messages import (
    WHOLE_SESSION,
    Abort,
    Detections,
    Frame,
    Hello,
    Tag,
    decode,
)
from qkd_hal.distillation.parameters import DistillationParameters
from qkd_hal.distillation.report import BlockReport
from qkd_hal.distillation.sifting import EmissionLog, Emitted
from qkd_hal.distillation.stages import Stages
from qkd_hal.distillation.window import Window
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
    "DEFAULT_IN_FLIGHT",
    "MAX_IN_FLIGHT",
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

DEFAULT_IN_FLIGHT = 8  # keeps the rate up to some 10 ms of round trip; see docs/distillation.md
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


_Failure = DistillationError | ProtocolError
_OF_ONE_BLOCK = (QBERError, NoSecretKeyError, VerificationError)  # its neighbours may be good


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
    *max_in_flight*: blocks at once, 1 to 64; the smaller of both ends' counts. Each takes
    memory, and a link needs about its round trips per block times their time, over the time
    that a block takes to compute.

    Raises:
        UsageError: *first_block* or *max_in_flight* is out of range.
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
        max_in_flight: int = DEFAULT_IN_FLIGHT,
    ) -> None:
        if not 0 <= first_block <= MAX_BLOCK:
            raise UsageError(f"block number {first_block} is out of range")
        if not 1 <= max_in_flight <= MAX_IN_FLIGHT:
            raise UsageError(f"{max_in_flight} blocks in flight: it is 1 to {MAX_IN_FLIGHT}")
        self.role = role
        self.parameters = parameters
        self._pad = pad
        self._entropy = entropy
        self._stages = stages = stages or Stages()
        self._next_block = first_block
        self._unconfirmed = sorted(unconfirmed)
        self._known = list(self._unconfirmed)
        self._holds = holds or (lambda _: False)
        digest = stages.digest(parameters.digest())
        self._handshake = Handshake(role, digest, entropy, in_flight=max_in_flight)
        self._framing = Framing()
        self._log: EmissionLog | None = None
        self._first_pulse = 0
        self._detections = DetectionBuffer(parameters.detections_per_block)
        self._window = Window()
        self._storing: dict[int, Block] = {}
        self._paused = False
        self._waits_for_pad = False

    def attach_emissions(self, log: EmissionLog) -> None:
        """Emitter: give the record of what is sent, before :meth:`start`."""
        self._log = log

    def add_detections(self, batch: DetectionBatch) -> None:
        """Detector: add clicks; blocks start by themselves once there are enough."""
        self._detections.add(batch)
        self._start_blocks()

    @property
    def paused(self) -> bool:
        """True while this end starts no new block (the detector's store is full)."""
        return self._paused

    @paused.setter
    def paused(self, value: bool) -> None:
        self._paused = value
        self._start_blocks()

    @property
    def busy(self) -> bool:
        """True while a block is under way."""
        return not self._window.is_empty

    @property
    def wants_detections(self) -> bool:
        """Detector: true while one more block could start, if only there were clicks for it."""
        return self._can_start and not self._detections.ready

    @property
    def lost_detections(self) -> int:
        """Detector: clicks that did not fit the buffer, since the start."""
        return self._detections.lost

    @property
    def waiting_for(self) -> Waiting:
        """What must come next: the peer's word before the host's, if both are due."""
        if not self._handshake.started:
            return Waiting.START
        if self._storing and not self._window.awaits_peer(self._storing):
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
        """Return and forget the messages to send, in order.

        Call it after acting on the events: what they confirmed may serve for tags now.
        """
        if self._waits_for_pad and self._pad.remaining:
            self._seal()
        return self._framing.drain()

    def receive(self, message: bytes) -> list[Event]:
        """Take one whole message from the wire, whatever it holds.

        Faults of the peer or the wire never raise: they end the block, or all that are under
        way, with :class:`BlockAborted` and a fresh HELLO, or are ignored while there is none.
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

        Raises:
            UsageError: an earlier block is not stored yet.
        """
        waiting = self._storing.get(block)
        if waiting is None:
            return []
        if block != min(self._storing):
            raise UsageError(f"block {min(self._storing)} must be stored before block {block}")
        del self._storing[block]
        self._next_block = max(self._next_block, block + 1)
        if self.role is Role.EMITTER:
            return self._close(waiting)
        # The emitter asks after a window's blocks at most: older ones need no memory.
        self._known = [*self._known[1 - MAX_UNCONFIRMED :], block]
        events = [BlockConfirmed(block), *self._close_detected(waiting)]
        self._start_blocks()
        return events

    def abort(self, reason: str) -> list[Event]:
        """Give up all blocks under way and begin a new session: the host's time-out."""
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
            events = self._on_abort(frame.block, frame.message)
        else:
            events = self._on_block_message(frame, raw)
        self._start_blocks()
        return [*events, *self._seal()]

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
        events = self._end_session(ProtocolError("the peer began a new session"))
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
        self._window.open(self._handshake.in_flight, self._handshake.first_block)
        self._detections.discard(hello.first_pulse)
        self._start_blocks()
        return [Synchronised(self._handshake.session.hex())]

    def _want_new_light(self) -> None:
        """The peer, or what it had detected, may be gone: go on behind what was emitted."""
        if self._log is not None:
            self._first_pulse = self._log.end
            self._log.discard(self._first_pulse)

    def _open_handshake(self) -> Hello:
        accepted = self._pad.marks.last_accepted
        return self._handshake.open(self._next_block, self._first_pulse, accepted)

    def _restart(self, error: _Failure) -> list[Event]:
        """End all blocks, tell the peer why, and begin a new session."""
        if not self._handshake.started:
            return []
        events = self._end_session(error)
        if self._handshake.peer is not None:
            self._framing.send(WHOLE_SESSION, Abort(error.code.encode()))
        self._framing.hello(self._open_handshake())
        return events

    def _on_abort(self, number: int, message: Abort) -> list[Event]:
        kind = _REASONS.get(message.reason[:_MAX_REASON_BYTES].decode(errors="replace"))
        error = (kind or DistillationError)("the peer gave the block up")
        if number != WHOLE_SESSION:
            return self._on_block_abort(number, error)
        events = self._end_session(error)
        self._framing.hello(self._open_handshake())
        return events

    def _on_block_abort(self, number: int, error: _Failure) -> list[Event]:
        if self._window.agree_to_end(number):
            return []
        block = self._window.find(number)
        if block is None or block.stage is not Stage.RUNNING:
            raise ProtocolError("the peer gives up a block that passed its checks")
        self._framing.send(number, Abort(error.code.encode()))
        self._window.finish(block.number)
        return self._end_block(block, error)

    def _on_block_message(self, frame: Frame, raw: bytes) -> list[Event]:
        block = self._block_of(frame)
        if block is None:
            return []  # it crossed our ABORT
        if isinstance(frame.message, Tag):
            self._window.check_turn(block)
        try:
            events = block.receive(frame.message, raw)
        except _OF_ONE_BLOCK as error:
            self._framing.send(block.number, Abort(error.code.encode()))
            self._window.give_up(block)
            return self._end_block(block, error)
        self._spend(block)
        if block.stage is Stage.DISTILLED:
            self._storing[block.number] = block
        return [event for event in events if self._settles(event)]

    def _block_of(self, frame: Frame) -> Block | None:
        window = self._window
        new = isinstance(frame.message, Detections) and frame.block == window.next_number
        if new and self._log is not None:
            if not window.has_room:
                raise ProtocolError("the detector opens more blocks than were agreed on")
            tools = self._tools(frame.block)
            block = EmitterBlock(
                frame.block, tools, self._log, self._first_pulse, tuple(self._unconfirmed)
            )
            window.add(block)
        return window.find(frame.block)

    def _settles(self, event: Event) -> bool:
        """Note what *event* settles; false if an earlier transcript has settled it."""
        if not isinstance(event, BlockConfirmed | BlockDropped):
            return True
        if self._window.finish(event.number):
            return True
        known = event.number in self._unconfirmed
        self._unconfirmed = [number for number in self._unconfirmed if number != event.number]
        return known

    def _close(self, block: Block) -> list[Event]:
        try:
            block.close()
        except DistillationError as error:
            return self._restart(error)
        return []

    def _close_detected(self, block: Block) -> list[Event]:
        if block not in self._window:
            return []  # the session ended while the host stored: the next one tells
        self._window.finish(block.number)
        return self._close(block)

    def _end_session(self, error: _Failure) -> list[Event]:
        """Wipe all running blocks; what a host must forget is in the events."""
        return [event for block in self._window.clear() for event in self._end_block(block, error)]

    def _end_block(self, block: Block, error: _Failure) -> list[Event]:
        self._spend(block)
        block.wipe()
        if block.stage is Stage.CLOSED:
            self._unconfirmed.append(block.number)
            return []
        if block.stage is Stage.IDLE or self._survives(block):
            return []
        if block.stage is Stage.DISTILLED:
            self._next_block = max(self._next_block, block.number)
        self._next_block += 1
        self._storing.pop(block.number, None)
        aborted = BlockAborted(block.number, error, replace(block.report, aborted=error.code))
        dropped = [BlockDropped(block.number)] if block.stage is Stage.DISTILLED else []
        return [*dropped, aborted]

    def _survives(self, block: Block) -> bool:
        # The emitter stored it before its tag left, so the detector may keep it.
        return self.role is Role.DETECTOR and block.stage is Stage.DISTILLED

    def _spend(self, block: Block) -> None:
        if isinstance(block, EmitterBlock):
            self._first_pulse = max(self._first_pulse, block.end_pulse)

    @property
    def _can_start(self) -> bool:
        ready = self.role is Role.DETECTOR and self._handshake.peer is not None
        # While a block of an older session is being stored, _held() would not know it yet.
        settled = all(block in self._window for block in self._storing.values())
        return ready and settled and self._window.has_room and not self._paused

    def _start_blocks(self) -> None:
        while self._detections.ready and self._can_start:
            number = self._window.next_number
            batch = self._detections.cut()
            block = DetectorBlock(number, self._tools(number), batch, self._held)
            self._window.add(block)
            block.start()

    def _seal(self) -> list[Event]:
        """Detector: send the tags of verified blocks, the oldest first.

        A tag waits while the masks do not suffice for it and for every STORED that is due:
        blocks on their way to the store will bring more.
        """
        self._waits_for_pad = False
        try:
            while (block := self._window.next_to_seal()) is not None:
                owed = self._window.masks_owed
                self._waits_for_pad = owed > 0 and self._pad.remaining < owed + 2
                if self._waits_for_pad:
                    break
                block.seal()
        except DistillationError as error:
            return self._restart(error)
        return []

    def _held(self, number: int) -> bool:
        return number in self._known or self._holds(number)

    def _tools(self, number: int) -> BlockTools:
        context = self._handshake.context
        send = partial(self._framing.send, number)
        return BlockTools(self.parameters, self._stages, self._pad, self._entropy, context, send)
