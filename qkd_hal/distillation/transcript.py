"""What a recorded session says: its header, then one step for each call of the host.

A step holds the call and its argument, what the engine drew from around it (randomness, pad,
emitted states), and what it gave back. That is all an engine depends on, so that another
engine, fed the same, must do the same. The redacted form leaves out whatever is not public.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, TypeVar

from qkd_hal.distillation.handshake import Role
from qkd_hal.distillation.parameters import DistillationParameters
from qkd_hal.distillation.transcript_file import TranscriptReader
from qkd_hal.errors import ConfigurationError, ProtocolError
from qkd_hal.key_ids import MAX_BLOCK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from qkd_hal.distillation.stages import Stages

__all__ = ["CALLS", "WARNING", "Header", "Step", "Transcript", "stage_names"]

FORMAT = 1  # raised by what an older reader would misunderstand
WARNING = (
    "SECRET: this file re-derives the keys of the session, and with it tags can be forged until "
    "both ends are given a fresh initial secret. Keep it as you keep keys; `qkd-hal audit FILE "
    "--redact OUT` makes a form that can be sent."
)
CALLS = ("start", "receive", "outgoing", "add-detections", "stored", "abort", "pause")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Header:
    """Whose session it is. ``stages`` are the names of the methods that it ran.

    ``options``: numbers that the engine was made with, such as ``max_in_flight``.

    ``secret``: False for the redacted form. ``parameters_digest`` is what the HELLO said of
    the parameters; the redacted form keeps it, and leaves out ``parameters.extra``.
    ``about``: what else the host wants to say, such as when and where.
    """

    role: Role
    parameters: DistillationParameters
    stages: tuple[str, ...]
    first_block: int = 0
    unconfirmed: tuple[int, ...] = ()
    options: Mapping[str, int] = field(default_factory=dict)
    secret: bool = True
    parameters_digest: bytes = b""
    about: Mapping[str, str] = field(default_factory=dict)

    def to_fields(self) -> dict[str, object]:
        """Return the first record of a file."""
        return {
            "qkd_hal_session": FORMAT,
            **({"warning": WARNING} if self.secret else {}),
            "secret": self.secret,
            "role": self.role.name,
            "parameters": asdict(self.parameters),
            "parameters_digest": self.parameters_digest,
            "stages": list(self.stages),
            "first_block": self.first_block,
            "unconfirmed": list(self.unconfirmed),
            "options": dict(self.options),
            "about": dict(self.about),
        }

    @classmethod
    def from_fields(cls, record: Mapping[str, object]) -> Header:
        """Read the first record.

        Raises:
            ProtocolError: it is none, or of another version.
        """
        if record.get("qkd_hal_session") != FORMAT:
            cure = "Read it with the version of qkd-hal that wrote it"
            raise ProtocolError(f"this is no session transcript of version {FORMAT}", cure=cure)
        role = item(record, "role", str)
        if role not in Role.__members__:
            raise ProtocolError("a session transcript names an unknown role")
        return cls(
            Role[role],
            _parameters(item(record, "parameters", dict)),
            tuple(_all(item(record, "stages", list), str)),
            _block(item(record, "first_block", int)),
            tuple(_block(number) for number in _all(item(record, "unconfirmed", list), int)),
            _mapping(item(record, "options", dict), int),
            item(record, "secret", bool),
            item(record, "parameters_digest", bytes),
            _mapping(item(record, "about", dict), str),
        )


@dataclass(frozen=True, slots=True)
class Step:
    """One call of the host.

    ``argument``: of ``receive`` the message, of ``add-detections`` the batch as
    :func:`~qkd_hal.distillation.transcript_arrays.pack_batch` gives it, of ``stored`` the
    block, of ``abort`` the reason, of ``pause`` the flag. ``drawn``: answers by the kind of
    question. ``said``: the messages of ``outgoing``. ``events``: those of the other calls.
    ``raised``: the class of the exception that ended the call instead.
    """

    call: str
    argument: Any = field(default=None, repr=False)
    drawn: Mapping[str, list[Any]] = field(default_factory=dict, repr=False)
    said: tuple[bytes, ...] = ()
    events: tuple[Mapping[str, Any], ...] = ()
    raised: str | None = None

    def to_fields(self) -> dict[str, object]:
        """Return the step's record, without what is empty."""
        record = {
            "call": self.call,
            "argument": self.argument,
            "drawn": dict(self.drawn),
            "said": list(self.said),
            "events": list(self.events),
            "raised": self.raised,
        }
        return {name: value for name, value in record.items() if value not in (None, [], {})}

    @classmethod
    def from_fields(cls, record: Mapping[str, object]) -> Step:
        """Read a step's record.

        Raises:
            ProtocolError: it is none.
        """
        if item(record, "call", str) not in CALLS or not record.keys() <= set(cls.__slots__):
            raise ProtocolError("a session transcript holds a call that nobody can make")
        return cls(
            item(record, "call", str),
            record.get("argument"),
            _mapping(item(record, "drawn", dict, {}), list),
            tuple(_all(item(record, "said", list, []), bytes)),
            tuple(_all(item(record, "events", list, []), dict)),
            item(record, "raised", str, "") or None,
        )


class Transcript:
    """A recorded session: its header at once, its steps as they are iterated over, once."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        """Begin to read; see :class:`~qkd_hal.distillation.transcript_file.TranscriptReader`.

        Raises:
            ProtocolError: it is no transcript.
        """
        self._reader = TranscriptReader(read)
        self._records = iter(self._reader)
        self.header = Header.from_fields(next(self._records, {}))

    @property
    def complete(self) -> bool:
        """True once all was read and the end was there."""
        return self._reader.complete

    @property
    def digest(self) -> bytes:
        """SHA-256 that stands for all that was read so far."""
        return self._reader.digest

    def __iter__(self) -> Iterator[Step]:
        """Yield the steps.

        Raises:
            ProtocolError: the file is damaged.
        """
        return map(Step.from_fields, self._records)


def item(record: Mapping[str, object], name: str, kind: type[T], default: T | None = None) -> T:
    """Return a field, which must be of exactly the type *kind*.

    Raises:
        ProtocolError: it is missing, or of another type.
    """
    value = record.get(name, default)
    if type(value) is not kind:
        raise ProtocolError(f"{name!r} of a session transcript is missing or malformed")
    return value


def stage_names(stages: Stages) -> tuple[str, ...]:
    """Return the names of the methods that a session runs."""
    return tuple(getattr(stages, one.name).name for one in fields(stages))


def _all(values: Any, kind: type[T]) -> list[T]:
    if not all(type(value) is kind for value in values):
        raise ProtocolError("a list of a session transcript is malformed")
    return list(values)


def _mapping(values: Any, kind: type[T]) -> dict[str, T]:
    return dict(zip(_all(values, str), _all(values.values(), kind), strict=True))


def _block(number: int) -> int:
    if not 0 <= number <= MAX_BLOCK:
        raise ProtocolError("a session transcript names an impossible block")
    return number


def _parameters(record: Mapping[str, Any]) -> DistillationParameters:
    values: dict[str, Any] = {n: tuple(v) if type(v) is list else v for n, v in record.items()}
    try:
        return DistillationParameters(**values)
    except (ArithmeticError, ConfigurationError, TypeError) as error:
        raise ProtocolError(f"the parameters of a session transcript are none: {error}") from None
