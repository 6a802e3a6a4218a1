"""Runs the engine again on what a transcript says it was fed, and compares what it gives."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import cbor2

from qkd_hal.distillation.authentication import PadMarks, PadPosition
from qkd_hal.distillation.events import BlockConfirmed, BlockDistilled, BlockDropped
from qkd_hal.distillation.handshake import Role
from qkd_hal.distillation.session import DistillationSession
from qkd_hal.distillation.stages import Stages
from qkd_hal.distillation.transcript import stage_names
from qkd_hal.distillation.transcript_arrays import pulses_digest, unpack_batch, unpack_states
from qkd_hal.distillation.transcript_events import event_to_fields
from qkd_hal.errors import (
    AuthenticationError,
    DistillationError,
    PadExhaustedError,
    ProtocolError,
    StateError,
    UsageError,
)
from qkd_hal.keys import wipe

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from qkd_hal.distillation.authentication import Direction
    from qkd_hal.distillation.events import Event
    from qkd_hal.distillation.sifting import Emitted
    from qkd_hal.distillation.transcript import Header, Step, Transcript

__all__ = ["Replay", "replay"]

_REFUSALS = {kind.code: kind for kind in (AuthenticationError, PadExhaustedError, ProtocolError)}
_ARGUMENTS = {
    "receive": bytes,
    "add-detections": list,
    "stored": int,
    "abort": str,
    "pause": bool,
}
_LAST = ("marks", "end", "remaining", "hash-key-sent", "hash-key-received")  # change nothing


@dataclass(slots=True)
class Replay:
    """What came of a replay. ``keys``: of each block the key and the refill of the pad.

    ``differences``: what went otherwise than recorded; empty when the keys are the recorded
    ones. ``confirmed`` and ``dropped``: blocks whose fate the session learned. ``complete``:
    the transcript had its end, so that nothing after ``steps`` is missing.
    """

    keys: dict[int, tuple[bytearray, bytearray]] = field(default_factory=dict, repr=False)
    reports: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    confirmed: set[int] = field(default_factory=set)
    dropped: set[int] = field(default_factory=set)
    differences: list[str] = field(default_factory=list)
    steps: int = 0
    complete: bool = False

    def wipe(self) -> None:
        """Overwrite the keys."""
        for pair in self.keys.values():
            for secret in pair:
                wipe(secret)

    def same_key(self, block: int, other: Replay) -> bool | None:
        """Compare *block*'s key with the other end's in constant time; None if one has none."""
        mine, theirs = self.keys.get(block), other.keys.get(block)
        if mine is None or theirs is None:
            return None
        equal = [hmac.compare_digest(a, b) for a, b in zip(mine, theirs, strict=True)]
        return all(equal)


def replay(transcript: Transcript, *, stages: Stages | None = None) -> Replay:
    """Run an engine on *transcript*, which must not be redacted.

    *stages*: the methods that the session ran, where those are not this package's.
    It ends at the first difference: nothing that follows could fit.

    Raises:
        ProtocolError: the transcript is damaged, redacted, or of other methods.
    """
    result = Replay()
    again = _Engine(transcript.header, stages or Stages(), result)
    for step in transcript:
        result.steps += 1
        difference = again.differs(step)
        if difference:
            result.differences.append(f"step {result.steps}, {step.call}: {difference}")
            break
    result.complete = transcript.complete
    return result


class _Engine:
    """The engine, and the steps it is taken through."""

    def __init__(self, header: Header, stages: Stages, result: Replay) -> None:
        _check_replayable(header, stages)
        self._result = result
        self._source = source = _Recorded()
        self._session = _session(header, source, stages)
        if header.role is Role.EMITTER:
            self._session.attach_emissions(_RecordedLog(source))
        self._said: list[bytes] = []
        self._calls: dict[str, Callable[[Any], list[Event] | None]] = {
            "start": lambda _: self._session.start(),
            "receive": self._session.receive,
            "add-detections": self._session.add_detections,
            "stored": self._session.stored,
            "abort": self._session.abort,
            "pause": self._pause,
        }

    def differs(self, step: Step) -> str | None:
        """Take *step*; return in which way the engine did not do as it is recorded."""
        argument = _argument(step)
        self._source.begin(step.drawn)
        if step.call == "outgoing":
            return self._outgoing(step)
        try:
            events = self._calls[step.call](argument) or []
        except _StrayedError as stray:
            return stray.what
        except Exception as error:  # noqa: BLE001 - a bug that was recorded is a bug again
            return _raised(step, type(error).__name__)
        return self._judge(step, events)

    def _judge(self, step: Step, events: list[Event]) -> str | None:
        found = [event_to_fields(event) for event in events]
        for event in events:
            self._keep(event)
        if step.raised:
            return f"no {step.raised} was raised"
        if self._source.unused():
            return f"the engine did not ask for all of {self._source.unused()}"
        return _unlike(step.events, found)

    def _outgoing(self, step: Step) -> str | None:
        said = self._session.outgoing()
        if len(said) != len(step.said):
            return f"{len(said)} messages instead of {len(step.said)}"
        wrong = [
            at for at, pair in enumerate(zip(said, step.said, strict=True)) if pair[0] != pair[1]
        ]
        return f"message {wrong[0]} is another" if wrong else None

    def _pause(self, value: bool) -> None:
        self._session.paused = value

    def _keep(self, event: Event) -> None:
        match event:
            case BlockDistilled(number, key, refill, report):
                self._result.keys[number] = key, refill
                self._result.reports[number] = report.to_json()
            case BlockConfirmed(number):
                self._result.confirmed.add(number)
            case BlockDropped(number):
                self._result.dropped.add(number)


def _session(header: Header, source: _Recorded, stages: Stages) -> DistillationSession:
    try:
        return DistillationSession(
            header.role,
            header.parameters,
            pad=_RecordedPad(source),
            entropy=_RecordedEntropy(source),
            first_block=header.first_block,
            unconfirmed=header.unconfirmed,
            holds=partial(_recorded_holds, source),
            stages=stages,
            **header.options,
        )
    except (TypeError, UsageError) as error:
        raise ProtocolError(f"the recorded engine cannot be made: {error}") from None


class _StrayedError(StateError):
    """The engine asks what the recorded one did not; not an error that it would handle."""


class _Recorded:
    """The answers of the step that is under way; randomness is one stream."""

    def __init__(self) -> None:
        self._answers: dict[str, list[Any]] = {}
        self._last: dict[str, Any] = {}
        self._entropy = bytearray()

    def begin(self, drawn: Mapping[str, list[Any]]) -> None:
        self._answers = {kind: list(reversed(answers)) for kind, answers in drawn.items()}
        for chunk in reversed(self._answers.pop("entropy", [])):
            self._entropy += chunk if type(chunk) is bytes else b""

    def unused(self) -> str:
        """Name the kinds of answers that were not all asked for."""
        left = [kind for kind, rest in self._answers.items() if rest and kind not in _LAST]
        return ", ".join(sorted(left + ["entropy"] * bool(self._entropy)))

    def random(self, size: int) -> bytes:
        if len(self._entropy) < size:
            raise _StrayedError("the engine asks for more randomness")
        taken = bytes(self._entropy[:size])
        del self._entropy[:size]
        return taken

    def next(self, kind: str) -> Any:
        answers = self._answers.get(kind)
        if answers:
            self._last[kind] = answers.pop()
        elif kind not in _LAST or kind not in self._last:
            raise _StrayedError(f"the engine asks for {kind!r}, which is not recorded here")
        return self._last[kind]

    def answer(self, kind: str, size: int) -> list[Any]:
        """Return the next answer, a list of *size*; raise the refusal that it was instead."""
        answer = self.next(kind)
        if type(answer) is str:
            raise _REFUSALS.get(answer, DistillationError)("as it was recorded")
        if type(answer) is not list or len(answer) != size:
            _malformed(kind)
        return answer


class _RecordedEntropy:
    def __init__(self, source: _Recorded) -> None:
        self._source = source

    def read_into(self, view: memoryview) -> None:
        view[:] = self._source.random(len(view))


class _RecordedPad:
    def __init__(self, source: _Recorded) -> None:
        self._source = source

    @property
    def remaining(self) -> int:
        return _integer(self._source.next("remaining"))

    @property
    def marks(self) -> PadMarks:
        marks = [_integer(value) for value in self._source.answer("marks", 4)]
        return PadMarks(PadPosition(*marks[:2]), PadPosition(*marks[2:]))

    def hash_key(self, direction: Direction) -> bytes:
        return _bytes(self._source.next(f"hash-key-{direction.value}"))

    def take(self) -> tuple[PadPosition, bytes]:
        segment, offset, mask = self._source.answer("take", 3)
        return PadPosition(_integer(segment), _integer(offset)), _bytes(mask)

    def expect(self, position: PadPosition) -> bytes:
        segment, offset, mask = self._source.answer("expect", 3)
        if (segment, offset) != position:
            raise _StrayedError("the engine expects another mask")
        return _bytes(mask)

    def accept(self, position: PadPosition) -> None:
        """Nothing is kept."""


class _RecordedLog:
    def __init__(self, source: _Recorded) -> None:
        self._source = source

    @property
    def end(self) -> int:
        return _integer(self._source.next("end"))

    def states(self, pulses: NDArray[np.int64]) -> Emitted:
        digest, states = unpack_states(self._source.answer("states", 6))
        if digest != pulses_digest(pulses):
            raise _StrayedError("the engine asks for other pulses")
        return states

    def discard(self, before: int) -> None:
        """Nothing is kept."""


def _recorded_holds(source: _Recorded, block: int) -> bool:
    asked, answer = source.answer("holds", 2)
    if asked != block or type(answer) is not bool:
        raise _StrayedError("the engine asks for another block")
    return answer


def _check_replayable(header: Header, stages: Stages) -> None:
    if not header.secret:
        cure = "A redacted transcript can be checked as far as public facts go, not replayed"
        raise ProtocolError("this transcript is redacted", cure=cure)
    if header.stages != stage_names(stages):
        ran = ", ".join(header.stages)
        raise ProtocolError(f"the session ran other methods than these: {ran}")


def _argument(step: Step) -> object:
    if type(step.argument) is not _ARGUMENTS.get(step.call, type(None)):
        raise ProtocolError(f"the recorded argument of {step.call!r} is malformed")
    return unpack_batch(step.argument) if step.call == "add-detections" else step.argument


def _raised(step: Step, name: str) -> str | None:
    return None if name == step.raised else f"{name} was raised"


def _unlike(recorded: tuple[Mapping[str, Any], ...], found: list[dict[str, object]]) -> str | None:
    """Say which event is another; never what it holds."""
    if len(recorded) != len(found):
        return f"{len(found)} events instead of {len(recorded)}"
    for was, now in zip(recorded, found, strict=True):
        names = sorted(name for name in {*was, *now} if _cbor(was, name) != _cbor(now, name))
        if names:
            return f"{now['event']} differs in {', '.join(names)}"
    return None


def _cbor(fields: Mapping[str, Any], name: str) -> bytes:
    coded: bytes = cbor2.dumps(fields.get(name), canonical=True)
    return coded


def _integer(value: Any) -> int:
    return value if type(value) is int else _malformed("number")


def _bytes(value: Any) -> bytes:
    return value if type(value) is bytes else _malformed("byte string")


def _malformed(what: str) -> NoReturn:
    raise _StrayedError(f"the recorded {what} is malformed")
