"""The host's end of boxlink as a state machine: frames in, events out. No I/O and no clock.

::

    HELLO sent ──RSP──▶ AUTH sent ──RSP, proof right──▶ open: all frames sealed
         ▲                  │
         └──────────────────┘  opening starts over
"""

from __future__ import annotations

import hmac
import os
import struct
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from qkd_hal.errors import DeviceLostError, DevicePermissionError, ProtocolError, StateError
from qkd_hal.keys import wipe
from qkd_hal_drivers.boxlink.error_codes import ErrorCode
from qkd_hal_drivers.boxlink.frame import (
    SEALED,
    Frame,
    FrameType,
    decode_frame,
    encode_frame,
    header,
)
from qkd_hal_drivers.boxlink.messages import (
    Failure,
    Operation,
    hello_request,
    read_failure,
    read_hello,
    read_proof,
)
from qkd_hal_drivers.boxlink.seal import Opener, Sealer, SessionKeys
from qkd_hal_drivers.boxlink.strict_cbor import encode_map

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Answer", "BoxLink", "Chunk", "Event", "Notice", "Refusal"]

_CHUNK_HEADER = struct.Struct(">II")
_SEQUENCES = 1 << 16
# Far from the number at which a sequence comes round to an answer that somebody held back.
_MOST_UNANSWERED = 1 << 15


class Answer(NamedTuple):
    """A RSP to repeat number *attempt* (from 0) of the outstanding request."""

    attempt: int
    body: memoryview


class Refusal(NamedTuple):
    """An ERR to the outstanding request."""

    attempt: int
    failure: Failure


class Chunk(NamedTuple):
    """A piece of the transfer that the last answer announced."""

    transfer: int
    offset: int
    data: memoryview


class Notice(NamedTuple):
    """An EVT: the box says something that nobody asked for."""

    body: memoryview


Event: TypeAlias = "Answer | Refusal | Chunk | Notice"


class BoxLink:
    """One connection to one box. A body in an event is overwritten by :meth:`wipe`.

    *max_frame*, and *window* as ``credits``, are what HELLO tells the box of this end.
    """

    def __init__(
        self, *, max_frame: int, window: int, random: Callable[[int], bytes] = os.urandom
    ) -> None:
        self._max_frame = max_frame
        self._window = window
        self._random = random
        self._scratch = bytearray(max_frame)
        self._used = 0
        self._sequence = int.from_bytes(random(2), "big")  # of the next request
        self._first = self._sequence  # of the outstanding request's first attempt
        self._operation = 0
        self._unanswered = 0  # requests in a row, repeats included
        self._hello = b""
        self._answered = 0  # sequence of the last answer: CHUNKs and CREDITs bear it
        self._keys: SessionKeys | None = None
        self._sealer: Sealer | None = None
        self._opener: Opener | None = None

    @property
    def is_open(self) -> bool:
        """Whether both ends have proved that they hold the PSK."""
        return self._sealer is not None

    def hello(self, *, repeat: bool) -> bytes:
        """Return a HELLO frame; whatever was open is forgotten."""
        self._sealer = self._opener = self._keys = None
        fields = hello_request(self._random(32), self._max_frame, self._window)
        self._hello = encode_map(fields)
        return self._framed(Operation.HELLO, self._hello, repeat)

    def greeted(self, body: memoryview, psk: bytearray) -> str:
        """Take the answer to HELLO, derive the session's keys, return the box's serial number.

        Raises:
            ProtocolError: it is not what boxlink 1.0 says.
        """
        serial_number = read_hello(body)
        self._keys = SessionKeys.derive(psk, self._hello, bytes(body))
        return serial_number

    def auth(self, *, repeat: bool) -> bytes:
        """Return an AUTH frame with the host's proof."""
        return self._framed(Operation.AUTH, encode_map({"proof": self._derived.host_proof}), repeat)

    def proved(self, body: memoryview) -> None:
        """Take the answer to AUTH; from here on all frames are sealed.

        Raises:
            DevicePermissionError: the box does not hold the PSK.
            ProtocolError: the answer is malformed.
        """
        keys = self._derived
        if not hmac.compare_digest(read_proof(body), keys.box_proof):
            raise DevicePermissionError(
                "the box cannot prove that it holds this credential's PSK",
                cure="Name the file with the PSK of this very box, and check what is plugged in",
            )
        self._sealer = Sealer(keys.host_key, keys.host_iv)
        self._opener = Opener(keys.box_key, keys.box_iv)
        self._keys = None

    def request(self, operation: Operation, body: bytes, *, repeat: bool) -> bytes:
        """Return a REQ frame; unless it is a *repeat*, answers to earlier ones no longer count.

        Raises:
            StateError: no session is open.
            DeviceLostError: the session is used up, or the box has long been silent.
        """
        if not self.is_open:
            raise StateError("the box's session is not open", cure="Call init() first")
        if self._unanswered >= _MOST_UNANSWERED:
            what = f"the box has answered none of {self._unanswered} requests"
            raise DeviceLostError(what, cure="Check the line, then call init()")
        return self._framed(operation, body, repeat)

    def credit(self, transfer: int, chunks: int) -> bytes:
        """Return a CREDIT frame for the transfer of the outstanding FETCH."""
        body = encode_map({"credits": chunks, "transfer": transfer})
        return self._finished(FrameType.CREDIT, self._answered, Operation.FETCH, body)

    def received(self, raw: bytes) -> Event | None:
        """Take one frame; return what it means, ``None`` for what is dropped.

        Raises:
            ProtocolError: the box, sealed or in the opening, sent a body that breaks section 4.
        """
        try:
            frame = decode_frame(raw)
            body = self._unsealed(frame)
        except ProtocolError:
            return None
        if frame.kind == FrameType.EVT:
            return Notice(body) if frame.sealed else None
        attempt = (frame.sequence - self._first) % _SEQUENCES
        if frame.operation != self._operation or attempt >= self._attempts:
            return None
        return self._meaning(frame, body, attempt)

    def wipe(self) -> None:
        """Overwrite what the last event showed."""
        wipe(memoryview(self._scratch)[: self._used])
        self._used = 0

    @property
    def _derived(self) -> SessionKeys:
        if self._keys is None:
            raise StateError("HELLO comes before AUTH")
        return self._keys

    @property
    def _attempts(self) -> int:
        return (self._sequence - self._first) % _SEQUENCES

    def _meaning(self, frame: Frame, body: memoryview, attempt: int) -> Event | None:
        if not frame.sealed and self.is_open:
            return self._hint(frame, body, attempt)
        if frame.kind == FrameType.ERR:
            self._unanswered = 0
            return Refusal(attempt, read_failure(body))
        if frame.kind == FrameType.RSP and not self._replaced(attempt):
            self._answered = frame.sequence
            self._unanswered = 0
            return Answer(attempt, body)
        if frame.kind == FrameType.CHUNK and frame.sequence == self._answered:
            return self._chunk(body)
        return None

    def _replaced(self, attempt: int) -> bool:
        """A box keeps one half-open session: that of the last HELLO."""
        return self._operation == Operation.HELLO and attempt != self._attempts - 1

    def _chunk(self, body: memoryview) -> Chunk | None:
        if len(body) <= _CHUNK_HEADER.size:
            return None
        transfer, offset = _CHUNK_HEADER.unpack_from(body)
        return Chunk(transfer, offset, body[_CHUNK_HEADER.size :])

    def _hint(self, frame: Frame, body: memoryview, attempt: int) -> Refusal | None:
        """Of clear frames, an open session heeds one: to forge it costs no less than a cut line."""
        if frame.kind != FrameType.ERR:
            return None
        try:
            failure = read_failure(body)
        except ProtocolError:
            return None
        return Refusal(attempt, failure) if failure.code == ErrorCode.NO_SESSION else None

    def _unsealed(self, frame: Frame) -> memoryview:
        if not frame.sealed:
            return frame.body
        if self._opener is None:
            raise ProtocolError("a sealed frame came before the session was open")
        plain = self._opener.open(frame.header, frame.body, self._scratch)
        self._used = max(self._used, len(plain))
        return plain

    def _framed(self, operation: Operation, body: bytes, repeat: bool) -> bytes:
        sequence = self._sequence
        if not repeat:
            self._first = sequence
        self._operation = operation
        self._unanswered += 1
        self._sequence = (sequence + 1) % _SEQUENCES
        return self._finished(FrameType.REQ, sequence, operation, body)

    def _finished(self, kind: FrameType, sequence: int, operation: Operation, body: bytes) -> bytes:
        if self._sealer is None:
            return encode_frame(header(kind, 0, sequence, operation), body)
        head = header(kind, SEALED, sequence, operation)
        return encode_frame(head, self._sealer.seal(head, body))
