"""What the two ends say to each other: frames, messages, and one strict parser.

A frame is version (1 byte), kind (1), session (8), sequence (4), the block that it is about
(8), then the message's fields in order, big-endian, blobs with a 4-byte length. Counts inside
blobs are checked where their meaning is known, in :mod:`~qkd_hal.distillation.bits`,
:mod:`~qkd_hal.distillation.detection_codec` and the block machines.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, fields
from typing import Annotated, get_args, get_type_hints

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


@dataclass(frozen=True, slots=True)
class _Number:
    size: int
    largest: int


@dataclass(frozen=True, slots=True)
class _Octets:
    size: int | None  # None: a length precedes them


U8 = Annotated[int, _Number(1, 0xFF)]
U32 = Annotated[int, _Number(4, 0xFFFFFFFF)]
U62 = Annotated[int, _Number(8, MAX_NUMBER)]
Blob = Annotated[bytes, _Octets(None)]
Octets16 = Annotated[bytes, _Octets(16)]
Octets32 = Annotated[bytes, _Octets(32)]


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
    """Detector: the ranges whose parities it wants."""

    ranges: Blob


@dataclass(frozen=True, slots=True)
class ParityReply:
    """Emitter: one bit for each range."""

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

_KINDS: tuple[type[Message], ...] = get_args(Message)
_NUMBER_OF = {kind: number for number, kind in enumerate(_KINDS, 1)}
_LAYOUT = {
    kind: [
        hint.__metadata__[0]
        for name, hint in get_type_hints(kind, include_extras=True).items()
        if name in {field.name for field in fields(kind)}
    ]
    for kind in _KINDS
}


@dataclass(frozen=True, slots=True)
class Frame:
    """A message, its session, its place in the sender's sequence, and its block."""

    session: bytes
    sequence: int
    block: int
    message: Message


def encode(frame: Frame) -> bytes:
    """Return the frame's bytes."""
    kind = type(frame.message)
    head = frame.session, frame.sequence, frame.block
    parts = [_HEADER.pack(VERSION, _NUMBER_OF[kind], *head)]
    for field, form in zip(fields(kind), _LAYOUT[kind], strict=True):
        parts.append(_encode_field(form, getattr(frame.message, field.name)))
    return b"".join(parts)


def decode(raw: bytes) -> Frame:
    """Read one whole frame.

    Raises:
        ProtocolError: anything but one complete frame of this version.
    """
    if len(raw) < _HEADER.size:
        raise ProtocolError("a message is shorter than its header")
    version, number, session, sequence, block = _HEADER.unpack_from(raw)
    if version != VERSION:
        raise ProtocolError(f"message version {version}", cure=f"Both ends must speak {VERSION}")
    if not 1 <= number <= len(_KINDS):
        raise ProtocolError(f"unknown message kind {number}")
    if block > MAX_NUMBER:
        raise ProtocolError("a block number is out of range")
    kind = _KINDS[number - 1]
    reader = _Reader(raw, _HEADER.size)
    message = kind(*[reader.field(form) for form in _LAYOUT[kind]])
    reader.finish()
    return Frame(session, sequence, block, message)


def _encode_field(form: _Number | _Octets, value: int | bytes) -> bytes:
    if isinstance(form, _Number):
        return int(value).to_bytes(form.size, "big")
    octets = bytes(value)
    return octets if form.size else len(octets).to_bytes(4, "big") + octets


class _Reader:
    def __init__(self, raw: bytes, at: int) -> None:
        self._raw = raw
        self._at = at

    def field(self, form: _Number | _Octets) -> int | bytes:
        if isinstance(form, _Number):
            return self._number(form)
        return self._take(form.size or self._number(_Number(4, 0xFFFFFFFF)))

    def finish(self) -> None:
        if self._at != len(self._raw):
            raise ProtocolError(f"{len(self._raw) - self._at} bytes after the end of a message")

    def _number(self, form: _Number) -> int:
        value = int.from_bytes(self._take(form.size), "big")
        if value > form.largest:
            raise ProtocolError("a number is out of range")
        return value

    def _take(self, size: int) -> bytes:
        taken = self._raw[self._at : self._at + size]
        if len(taken) != size:
            raise ProtocolError("a message ends in the middle of a field")
        self._at += size
        return taken
