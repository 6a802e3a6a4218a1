"""What the two ends say to each other: frames, messages, and one strict parser.

A frame is version (1 byte), kind (1), session (8), sequence (4), the block that it is about
(8), then the message's fields in order, big-endian, blobs with a 4-byte length. Counts inside
blobs are checked where their meaning is known, in :mod:`~qkd_hal.distillation.bits`,
:mod:`~qkd_hal.distillation.detection_codec` and the block machines.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, fields
from typing import Annotated, NamedTuple, get_args, get_type_hints

from qkd_hal.errors import ProtocolError

__all__ = [
    "NO_SESSION",
    "WHOLE_SESSION",
    "Abort",
    "Corrected",
    "Detections",
    "Estimate",
    "Frame",
    "Hello",
    "Message",
    "ParityReply",
    "ParityRequest",
    "Sift",
    "Stored",
    "Tag",
    "Verify",
    "decode",
    "encode",
]

VERSION = 2
NO_SESSION = bytes(8)  # of a HELLO, which makes the session
MAX_NUMBER = (1 << 62) - 1  # pulses and blocks: sums of two still fit int64

WHOLE_SESSION = MAX_NUMBER  # in place of a block: the message is about all of them

_HEADER = struct.Struct(">BB8sIQ")


# How each field is written: struct's format, or a blob, which its length precedes. Blobs come
# last in a message.
U8 = Annotated[int, "B"]
U32 = Annotated[int, "I"]
U62 = Annotated[int, "Q"]
Octets16 = Annotated[bytes, "16s"]
Octets32 = Annotated[bytes, "32s"]
Blob = Annotated[bytes, ""]


@dataclass(frozen=True, slots=True)
class Hello:
    """Opens a session. ``echo`` is the peer's nonce, or zeros before it is known.

    ``segment`` and ``offset``: the last mask of the peer's that this end accepted.
    ``in_flight``: how many blocks at once this end can bear.
    """

    role: U8
    in_flight: U8
    next_block: U62
    first_pulse: U62
    segment: U62
    offset: U32
    nonce: Octets16
    parameters: Octets32
    echo: Octets16

    @property
    def core(self) -> bytes:
        """The fields that the transcript of every block begins with."""
        return encode(Frame(NO_SESSION, 0, WHOLE_SESSION, self))[_HEADER.size : -16]


@dataclass(frozen=True, slots=True)
class Detections:
    """Detector: which pulses of ``[first_pulse, end_pulse)`` clicked, and in which bases."""

    first_pulse: U62
    end_pulse: U62
    count: U32
    gaps: Blob
    bases: Blob


@dataclass(frozen=True, slots=True)
class Sift:
    """Emitter: its bases; where they match, the intensities (two bit planes) and test bits.

    ``unconfirmed``: its stored blocks whose fate at the detector it does not know (8 bytes
    each). ``seed`` starts the public shuffles of reconciliation.
    """

    seed: Octets16
    bases: Blob
    intensities_low: Blob
    intensities_high: Blob
    test_bits: Blob
    unconfirmed: Blob


@dataclass(frozen=True, slots=True)
class Estimate:
    """Detector: its test bits, and which of ``Sift.unconfirmed`` it holds (a bit each)."""

    test_bits: Blob
    held: Blob


@dataclass(frozen=True, slots=True)
class ParityRequest:
    """Detector: which parities it wants next, in the method's own form."""

    question: Blob


@dataclass(frozen=True, slots=True)
class ParityReply:
    """Emitter: one bit for each parity that was asked for."""

    count: U32
    parities: Blob


@dataclass(frozen=True, slots=True)
class Corrected:
    """Detector: it asks nothing more.

    ``errors``: those of its key, per intensity, where the source has one decoy (4 bytes each).
    """

    errors: Blob = b""


@dataclass(frozen=True, slots=True)
class Verify:
    """Emitter: a universal hash of its key with its seed, and the amplification seed."""

    hash_seed: Octets16
    hash: Octets16
    toeplitz_seed: Blob


@dataclass(frozen=True, slots=True)
class Tag:
    """Either: a Wegman-Carter tag over the transcript, and the mask's place in the pad."""

    segment: U62
    offset: U32
    tag: Octets16


@dataclass(frozen=True, slots=True)
class Stored:
    """Detector: the block is durable here too; tagged."""

    segment: U62
    offset: U32
    tag: Octets16


@dataclass(frozen=True, slots=True)
class Abort:
    """Either: the frame's block, or the session, is over; ``reason`` is an error's code."""

    reason: Blob


Message = (
    Hello
    | Detections
    | Sift
    | Estimate
    | ParityRequest
    | ParityReply
    | Corrected
    | Verify
    | Tag
    | Stored
    | Abort
)


class _Layout(NamedTuple):
    """The wire form of one kind of message: header and numbers in one go, then blobs."""

    number: int
    fixed: struct.Struct
    names: tuple[str, ...]
    blobs: tuple[str, ...]
    wide: tuple[int, ...]  # of the fixed fields, those that must not reach 2^62


def _layout(number: int, kind: type[Message]) -> _Layout:
    hints = get_type_hints(kind, include_extras=True)
    forms = {field.name: hints[field.name].__metadata__[0] for field in fields(kind)}
    names = tuple(name for name, form in forms.items() if form)
    wide = tuple(place for place, name in enumerate(names) if forms[name] == "Q")
    fixed = struct.Struct(_HEADER.format + "".join(forms.values()))
    return _Layout(number, fixed, names, tuple(forms)[len(names) :], wide)


_KINDS: tuple[type[Message], ...] = get_args(Message)
_LAYOUTS = {kind: _layout(number, kind) for number, kind in enumerate(_KINDS, 1)}


@dataclass(frozen=True, slots=True)
class Frame:
    """A message, its session, its place in the sender's sequence, and its block."""

    session: bytes
    sequence: int
    block: int
    message: Message


def encode(frame: Frame) -> bytes:
    """Return the frame's bytes."""
    message = frame.message
    layout = _LAYOUTS[type(message)]
    head = VERSION, layout.number, frame.session, frame.sequence, frame.block
    parts = [layout.fixed.pack(*head, *[getattr(message, name) for name in layout.names])]
    for name in layout.blobs:
        blob = getattr(message, name)
        parts += len(blob).to_bytes(4, "big"), blob
    return b"".join(parts)


def decode(raw: bytes) -> Frame:
    """Read one whole frame.

    Raises:
        ProtocolError: anything but one complete frame of this version.
    """
    if len(raw) < _HEADER.size:
        raise ProtocolError("a message is shorter than its header")
    version, number = raw[0], raw[1]
    if version != VERSION:
        raise ProtocolError(f"message version {version}", cure=f"Both ends must speak {VERSION}")
    if not 1 <= number <= len(_KINDS):
        raise ProtocolError(f"unknown message kind {number}")
    kind = _KINDS[number - 1]
    layout = _LAYOUTS[kind]
    if len(raw) < layout.fixed.size:
        raise ProtocolError("a message ends in the middle of a field")
    _, _, session, sequence, block, *values = layout.fixed.unpack_from(raw)
    if block > MAX_NUMBER or any(values[place] > MAX_NUMBER for place in layout.wide):
        raise ProtocolError("a number is out of range")
    message = kind(*values, *_blobs(raw, layout.fixed.size, len(layout.blobs)))
    return Frame(session, sequence, block, message)


def _blobs(raw: bytes, at: int, count: int) -> list[bytes]:
    """Read *count* blobs, which must end where *raw* does."""
    blobs = []
    for _ in range(count):
        start = at + 4
        at = start + int.from_bytes(raw[at:start], "big")
        blobs.append(raw[start:at])
    if at != len(raw):
        raise ProtocolError("a message is shorter or longer than its fields")
    return blobs
