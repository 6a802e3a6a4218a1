"""Frames and their way over a byte stream: ``docs/boxlink.md``, sections 2.1 and 3."""

from __future__ import annotations

import struct
import zlib
from enum import IntEnum
from typing import Final, NamedTuple

from cobs import cobs

from qkd_hal.errors import ProtocolError

__all__ = [
    "HEADER_BYTES",
    "SEALED",
    "Frame",
    "FrameType",
    "StreamReceiver",
    "decode_frame",
    "encode_frame",
    "for_stream",
    "header",
]

VERSION: Final = 1
SEALED: Final = 0x01  # flag: the body is encrypted
HEADER_BYTES: Final = 7
_CRC_BYTES: Final = 4
_HEADER = struct.Struct(">BBBHH")
_CRC = struct.Struct(">I")


class FrameType(IntEnum):
    """Byte 1 of a frame."""

    REQ = 1
    RSP = 2
    ERR = 3
    EVT = 4
    CHUNK = 5
    CREDIT = 6


class Frame(NamedTuple):
    """A received frame whose CRC is right. ``header`` is what a seal authenticates."""

    kind: int
    sealed: bool
    sequence: int
    operation: int
    header: bytes
    body: memoryview


def header(kind: FrameType, flags: int, sequence: int, operation: int) -> bytes:
    """Return the first seven bytes of a frame."""
    return _HEADER.pack(VERSION, kind, flags, sequence, operation)


def encode_frame(head: bytes, body: bytes) -> bytes:
    """Return a whole frame: *head*, *body* and their CRC."""
    content = head + body
    return content + _CRC.pack(zlib.crc32(content))


def decode_frame(raw: bytes) -> Frame:
    """Read one frame.

    Raises:
        ProtocolError: it is one that a receiver drops.
    """
    end = len(raw) - _CRC_BYTES
    if end < HEADER_BYTES:
        raise ProtocolError("a frame is shorter than its header and CRC")
    view = memoryview(raw)
    if zlib.crc32(view[:end]) != _CRC.unpack_from(raw, end)[0]:
        raise ProtocolError("a frame's CRC is wrong")
    version, kind, flags, sequence, operation = _HEADER.unpack_from(raw)
    if version != VERSION or not FrameType.REQ <= kind <= FrameType.CREDIT or flags & ~SEALED:
        raise ProtocolError("a frame is of no version, type or flag that boxlink 1 knows")
    return Frame(kind, bool(flags), sequence, operation, raw[:HEADER_BYTES], view[HEADER_BYTES:end])


def for_stream(frame: bytes) -> bytes:
    """Return *frame* as it goes over a byte stream; the first ``00`` ends noise before it."""
    stuffed: bytes = cobs.encode(frame)
    return b"\0" + stuffed + b"\0"


class StreamReceiver:
    """Cuts a byte stream into frames. Keeps at most one frame's length of what is unfinished."""

    def __init__(self, max_frame: int) -> None:
        self._max_frame = max_frame
        self._longest = max_frame + max_frame // 254 + 1  # what COBS makes of it
        self._rest = b""
        self._skipping = False

    @property
    def unfinished(self) -> bool:
        """Whether a frame has begun and not ended."""
        return bool(self._rest) or self._skipping

    def clear(self) -> None:
        """Forget what is unfinished."""
        self._rest, self._skipping = b"", False

    def feed(self, data: bytes) -> list[bytes]:
        """Take any number of bytes; return the frames that they complete, unchecked."""
        first, *more = (self._rest + data).split(b"\0")
        if not more:
            self._keep(first)
            return []
        *whole, rest = more
        frames = [] if self._skipping else self._unstuffed(first)
        for piece in whole:
            frames += self._unstuffed(piece)
        self._skipping = False
        self._keep(rest)
        return frames

    def _keep(self, rest: bytes) -> None:
        if self._skipping or len(rest) > self._longest:
            self._rest, self._skipping = b"", True
        else:
            self._rest = rest

    def _unstuffed(self, piece: bytes) -> list[bytes]:
        if not piece or len(piece) > self._longest:
            return []
        try:
            frame: bytes = cobs.decode(piece)
        except cobs.DecodeError:
            return []
        return [frame] if len(frame) <= self._max_frame else []
