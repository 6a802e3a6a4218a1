"""The bytes of a recorded session: a chain of records, read strictly.

A file is a CBOR sequence (RFC 8742). Each record is an array of two byte strings: a map of
canonical CBOR (RFC 8949, 4.2.1), and the SHA-256 of the digest before it and of that map. So a
changed, lost or repeated record shows, a file that a crash cut short can be read up to there,
and whoever knows the last digest knows the whole file. The digest is no signature: it tells
damage, not who wrote the file. ``docs/transcripts.md`` has the fields.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import cbor2

from qkd_hal.canonical_cbor import decode_map
from qkd_hal.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["MAX_RECORD_BYTES", "TranscriptReader", "TranscriptWriter"]

MAX_RECORD_BYTES = 1 << 27  # the longest message of MAX_DETECTIONS takes half of it
_LABEL = b"qkd-hal session transcript 1"
_PAIR = 0x82  # an array of two items
_BYTES = 2  # the major type of byte strings
_DIGEST_HEAD = b"\x58\x20"  # a byte string of 32


class TranscriptWriter:
    """Turns records into bytes; *write* takes those of one record at a time."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._digest = hashlib.sha256(_LABEL).digest()
        self._count = 0

    def add(self, fields: Mapping[str, object]) -> None:
        """Append one record.

        Raises:
            ProtocolError: it is longer than a reader takes.
        """
        body: bytes = cbor2.dumps(fields, canonical=True)
        if len(body) > MAX_RECORD_BYTES:
            raise ProtocolError(f"a record of {len(body)} bytes does not fit a transcript")
        self._digest = hashlib.sha256(self._digest + body).digest()
        self._count += 1
        self._write(cbor2.dumps([body, self._digest]))

    def close(self) -> None:
        """Append the last record, which says that none is missing."""
        self.add({"end": self._count})


class TranscriptReader:
    """Iterates over the records of a file, in memory for one of them.

    *read* returns that many bytes, fewer only at the end of the file, as a buffered file does.
    """

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._digest = hashlib.sha256(_LABEL).digest()
        self._count = 0
        self.complete = False

    @property
    def digest(self) -> bytes:
        """The digest of all that was read so far; after the end, that of the file."""
        return self._digest

    def __iter__(self) -> Iterator[dict[str, object]]:
        """Yield the records; ``complete`` then tells whether the last one was there.

        Raises:
            ProtocolError: anything but whole records of this format, save a cut at the end.
        """
        for body in self._bodies():
            fields = decode_map(body, "a record of a session transcript")
            if "end" in fields:
                self._finish(fields)
                return
            self._count += 1
            yield fields

    def _finish(self, fields: dict[str, object]) -> None:
        if fields != {"end": self._count} or self._read(1):
            raise ProtocolError("a session transcript does not end where it says")
        self.complete = True

    def _bodies(self) -> Iterator[bytes]:
        try:
            while first := self._read(1):
                yield self._record(first[0])
        except EOFError:
            return

    def _record(self, first: int) -> bytes:
        if first != _PAIR:
            raise ProtocolError("this is no session transcript, or of another version")
        body = self._take(self._length())
        head, digest = self._take(2), self._take(32)
        self._digest = hashlib.sha256(self._digest + body).digest()
        if head != _DIGEST_HEAD or digest != self._digest:
            raise ProtocolError("a session transcript was changed or damaged")
        return body

    def _length(self) -> int:
        """Read the head of a byte string; only the shortest form is taken."""
        major, info = divmod(self._take(1)[0], 32)
        if major != _BYTES or info > 26:
            raise ProtocolError("a record of a session transcript is malformed")
        if info < 24:
            return info
        size: int = 1 << info - 24
        length = int.from_bytes(self._take(size), "big")
        shortest = length >= (24 if size == 1 else 1 << 4 * size)
        if not shortest or length > MAX_RECORD_BYTES:
            raise ProtocolError("a record of a session transcript is too long, or its head is")
        return length

    def _take(self, size: int) -> bytes:
        taken = self._read(size)
        if len(taken) != size:
            raise EOFError
        return taken
