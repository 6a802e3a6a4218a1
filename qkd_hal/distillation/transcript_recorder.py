"""An engine that writes down all that it was fed, and all that it gave.

A host makes a :class:`RecordingSession` where it would make a
:class:`~qkd_hal.distillation.session.DistillationSession`. What is written holds key: see
:data:`~qkd_hal.distillation.transcript.WARNING`.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from qkd_hal.distillation.session import DistillationSession
from qkd_hal.distillation.stages import Stages
from qkd_hal.distillation.transcript import Header, Step, stage_names
from qkd_hal.distillation.transcript_arrays import pack_batch, pack_states
from qkd_hal.distillation.transcript_events import event_to_fields
from qkd_hal.distillation.transcript_file import TranscriptWriter
from qkd_hal.errors import DistillationError, ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from qkd_hal.distillation.authentication import (
        AuthenticationPad,
        Direction,
        PadMarks,
        PadPosition,
    )
    from qkd_hal.distillation.events import Event
    from qkd_hal.distillation.handshake import Role
    from qkd_hal.distillation.parameters import DistillationParameters
    from qkd_hal.distillation.sifting import EmissionLog, Emitted
    from qkd_hal.sources import DetectionBatch, EntropySource

__all__ = ["RecordingSession"]

T = TypeVar("T")


class _Notes:
    """What the engine drew since the last step, and the step that is under way."""

    def __init__(self, writer: TranscriptWriter) -> None:
        self._writer = writer
        self._drawn: dict[str, list[Any]] = {}
        self._busy = False
        self._ended = False

    def drew(self, kind: str, answer: object) -> None:
        self._drawn.setdefault(kind, []).append(answer)

    def asked(self, kind: str, ask: Callable[[], T], to_answer: Callable[[T], object]) -> T:
        """Pass a question on, and note its answer or the code of its refusal."""
        try:
            answer = ask()
        except (DistillationError, ProtocolError) as error:
            self.drew(kind, error.code)
            raise
        self.drew(kind, to_answer(answer))
        return answer

    def events(self, call: str, argument: object, act: Callable[[], T]) -> T:
        """Carry a call of the host out, and write it down, however it ends."""
        if self._busy:  # the engine calls a public method of its own
            return act()
        self._busy = True
        try:
            result = act()
        except BaseException as error:
            self._write(Step(call, argument, raised=type(error).__name__))
            raise
        finally:
            self._busy = False
        events = result if isinstance(result, list) else []
        self._write(Step(call, argument, events=tuple(map(event_to_fields, events))))
        return result

    def end(self) -> None:
        if not self._ended:
            self._writer.close()
        self._ended = True

    def said(self, drain: Callable[[], list[bytes]]) -> list[bytes]:
        messages = drain()
        if messages:
            self._write(Step("outgoing", said=tuple(messages)))
        return messages

    def _write(self, step: Step) -> None:
        drawn, self._drawn = self._drawn, {}
        if self._ended:
            return
        try:
            self._writer.add(replace(step, drawn=drawn).to_fields())
        except ProtocolError:  # too long for a record: the session goes on, its transcript not
            self._ended = True


class RecordingSession(DistillationSession):
    """A :class:`~qkd_hal.distillation.session.DistillationSession` and its transcript.

    *write* takes the file's bytes, a record at a time, and must not raise. *about* goes into
    the header as it is; *options* are the engine's further ones, all numbers.
    :meth:`end_recording` marks the file as complete.
    """

    def __init__(
        self,
        role: Role,
        parameters: DistillationParameters,
        *,
        pad: AuthenticationPad,
        entropy: EntropySource,
        write: Callable[[bytes], object],
        first_block: int = 0,
        unconfirmed: Iterable[int] = (),
        holds: Callable[[int], bool] | None = None,
        stages: Stages | None = None,
        about: Mapping[str, str] | None = None,
        **options: int,
    ) -> None:
        stages, waiting = stages or Stages(), tuple(unconfirmed)
        writer = TranscriptWriter(write)
        self._recording_notes = notes = _Notes(writer)
        names, digest = stage_names(stages), stages.digest(parameters.digest())
        begin = Header(
            role,
            parameters,
            names,
            first_block,
            waiting,
            options,
            parameters_digest=digest,
            about=about or {},
        )
        writer.add(begin.to_fields())
        super().__init__(
            role,
            parameters,
            pad=_NotedPad(pad, notes),
            entropy=_NotedEntropy(entropy, notes),
            first_block=first_block,
            unconfirmed=waiting,
            holds=_noted_holds(holds or (lambda _: False), notes),
            stages=stages,
            **options,
        )

    def end_recording(self) -> None:
        """Write the end; what is called after it is not recorded."""
        self._recording_notes.end()

    def attach_emissions(self, log: EmissionLog) -> None:
        """Emitter: give the record of what is sent."""
        super().attach_emissions(_NotedLog(log, self._recording_notes))

    def start(self) -> list[Event]:
        """Queue a HELLO."""
        return self._recording_notes.events("start", None, super().start)

    def receive(self, message: bytes) -> list[Event]:
        """Take one whole message from the wire."""
        return self._recording_notes.events("receive", message, partial(super().receive, message))

    def outgoing(self) -> list[bytes]:
        """Return and forget the messages to send."""
        return self._recording_notes.said(super().outgoing)

    def add_detections(self, batch: DetectionBatch) -> None:
        """Detector: add clicks."""
        act = partial(super().add_detections, batch)
        self._recording_notes.events("add-detections", pack_batch(batch), act)

    def stored(self, block: int) -> list[Event]:
        """Go on, now that the host has stored *block*."""
        return self._recording_notes.events("stored", block, partial(super().stored, block))

    def abort(self, reason: str) -> list[Event]:
        """Give up what runs, and begin a new session."""
        return self._recording_notes.events("abort", reason, partial(super().abort, reason))

    @property
    def paused(self) -> bool:
        """True while this end starts no new block."""
        return super().paused

    @paused.setter
    def paused(self, value: bool) -> None:
        setter = vars(DistillationSession)["paused"].fset
        self._recording_notes.events("pause", value, partial(setter, self, value))


class _NotedEntropy:
    def __init__(self, source: EntropySource, notes: _Notes) -> None:
        self._source = source
        self._notes = notes

    def read_into(self, view: memoryview) -> None:
        self._source.read_into(view)
        self._notes.drew("entropy", bytes(view))


class _NotedPad:
    """Notes the masks that are used, not the pad: what is unused stays out of the file."""

    def __init__(self, pad: AuthenticationPad, notes: _Notes) -> None:
        self._pad = pad
        self._notes = notes

    @property
    def remaining(self) -> int:
        remaining = self._pad.remaining
        self._notes.drew("remaining", remaining)
        return remaining

    @property
    def marks(self) -> PadMarks:
        marks = self._pad.marks
        self._notes.drew("marks", [*marks.next_sent, *marks.last_accepted])
        return marks

    def hash_key(self, direction: Direction) -> bytes:
        key = self._pad.hash_key(direction)
        self._notes.drew(f"hash-key-{direction.value}", key)
        return key

    def take(self) -> tuple[PadPosition, bytes]:
        return self._notes.asked("take", self._pad.take, lambda got: [*got[0], got[1]])

    def expect(self, position: PadPosition) -> bytes:
        ask = partial(self._pad.expect, position)
        return self._notes.asked("expect", ask, lambda mask: [*position, mask])

    def accept(self, position: PadPosition) -> None:
        self._pad.accept(position)


class _NotedLog:
    def __init__(self, log: EmissionLog, notes: _Notes) -> None:
        self._log = log
        self._notes = notes

    @property
    def end(self) -> int:
        end = self._log.end
        self._notes.drew("end", end)
        return end

    def states(self, pulses: NDArray[np.int64]) -> Emitted:
        ask = partial(self._log.states, pulses)
        return self._notes.asked("states", ask, lambda states: pack_states(pulses, states))

    def discard(self, before: int) -> None:
        self._log.discard(before)


def _noted_holds(holds: Callable[[int], bool], notes: _Notes) -> Callable[[int], bool]:
    def noted(block: int) -> bool:
        answer = holds(block)
        notes.drew("holds", [block, answer])
        return answer

    return noted
