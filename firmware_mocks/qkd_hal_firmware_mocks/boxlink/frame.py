"""Frames: header, body, CRC (``docs/boxlink.md``, section 3)."""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

__all__ = [
    "CHUNK",
    "CREDIT",
    "ERR",
    "EVT",
    "OVERHEAD",
    "REQ",
    "RSP",
    "SEALED",
    "Frame",
    "finish",
    "pack_header",
    "read_frame",
]

REQ, RSP, ERR, EVT, CHUNK, CREDIT = range(1, 7)
SEALED = 1
OVERHEAD = 11  # header and CRC

_VERSION = 1
_HEADER = struct.Struct(">BBBHH")
_CRC = struct.Struct(">I")


class Frame(NamedTuple):
    """A frame whose CRC was right; ``header`` is what a seal covers beside the body."""

    kind: int
    flags: int
    sequence: int
    operation: int
    header: bytes
    body: bytes


def pack_header(kind: int, flags: int, sequence: int, operation: int) -> bytes:
    """Return the first seven bytes."""
    return _HEADER.pack(_VERSION, kind, flags, sequence, operation)


def finish(header: bytes, body: bytes) -> bytes:
    """Return the whole frame."""
    content = header + body
    return content + _CRC.pack(zlib.crc32(content))


def read_frame(data: bytes) -> Frame | None:
    """Read a frame; ``None`` for one that a receiver drops without a word."""
    if len(data) < OVERHEAD or _CRC.unpack_from(data, len(data) - 4)[0] != zlib.crc32(data[:-4]):
        return None
    version, kind, flags, sequence, operation = _HEADER.unpack_from(data)
    if version != _VERSION or not REQ <= kind <= CREDIT or flags & ~SEALED:
        return None
    return Frame(kind, flags, sequence, operation, data[:7], data[7:-4])
