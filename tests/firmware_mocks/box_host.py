"""A host for tests of the box: from the page, with libraries, and nothing of either end."""

from __future__ import annotations

import hashlib
import itertools
import os
import struct
import zlib
from typing import TYPE_CHECKING, Any

import cbor2
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

if TYPE_CHECKING:
    from collections.abc import Callable

REQ, RSP, ERR, EVT, CHUNK, CREDIT = range(1, 7)
CODES = {"HELLO": 1, "AUTH": 2, "BYE": 3, "INFO": 0x10, "STATUS": 0x11, "RESERVE": 0x20}
CODES |= {"BIND": 0x21, "AGREE": 0x22, "FETCH": 0x23, "CONFIRM": 0x24}

Answer = tuple[int, Any]


class RefusedError(Exception):
    """The box answered ERR."""

    def __init__(self, body: dict[str, Any]) -> None:
        super().__init__(body)
        self.code = body["code"]
        self.body = body


def finish(head: bytes, body: bytes) -> bytes:
    """Add the CRC."""
    return head + body + struct.pack(">I", zlib.crc32(head + body))


def clear(kind: int, sequence: int, operation: str, body: dict[str, Any]) -> bytes:
    """Return a clear frame."""
    head = struct.pack(">BBBHH", 1, kind, 0, sequence, CODES[operation])
    return finish(head, cbor2.dumps(body))


def hello(**changes: Any) -> dict[str, Any]:
    """Return a HELLO."""
    body = {"major": 1, "minor": 0, "nonce": os.urandom(32), "max_frame": 8192, "credits": 4}
    return body | {"suites": [1], "features": []} | changes


class Host:
    """*exchange* takes a frame to the box and brings the frames that answer it."""

    def __init__(self, exchange: Callable[[bytes], list[bytes]], psk: bytes, peer: str) -> None:
        self._exchange = exchange
        self._psk = psk
        self.peer = peer
        self._sequence = itertools.count(1)
        self.counter = 0
        self.events: list[dict[str, Any]] = []

    def open(self, **changes: Any) -> dict[str, Any]:
        """Say HELLO and AUTH; return the box's HELLO."""
        answer, proof = self.greet(**changes)
        (reply,) = self._exchange(clear(REQ, 2, "AUTH", {"proof": proof}))
        kind, body = self.read_clear(reply)
        assert kind == RSP, body
        assert body["proof"] == self._expand("box proof", 32)
        self.become_current()
        return answer

    def greet(self, **changes: Any) -> tuple[dict[str, Any], bytes]:
        """Say HELLO; return the answer and the proof that AUTH needs."""
        frame = clear(REQ, 1, "HELLO", hello(**changes))
        (reply,) = self._exchange(frame)
        kind, answer = self.read_clear(reply)
        if kind == ERR:
            raise RefusedError(answer)
        text = b"boxlink 1 transcript\0"
        for part in (frame[7:-4], reply[7:-4]):
            text += struct.pack(">I", len(part)) + part
        mac = hmac.HMAC(hashlib.sha256(text).digest(), hashes.SHA256())
        mac.update(self._psk)
        self._prk = mac.finalize()
        return answer, self._expand("host proof", 32)

    def become_current(self) -> None:
        """Go over to the keys of the last HELLO."""
        self._ours, self._our_iv = AESGCM(self._expand("host key", 32)), self._expand("host iv", 4)
        self._theirs, self._their_iv = (
            AESGCM(self._expand("box key", 32)),
            self._expand("box iv", 4),
        )
        self.counter = self._heard = 0

    def seal(self, kind: int, sequence: int, operation: int, plain: bytes) -> bytes:
        """Return a sealed frame."""
        self.counter += 1
        head = struct.pack(">BBBHH", 1, kind, 1, sequence, operation)
        counter = struct.pack(">Q", self.counter)
        return finish(head, counter + self._ours.encrypt(self._our_iv + counter, plain, head))

    def ask(self, operation: str, **fields: Any) -> list[Answer]:
        """Send a request; return (type, body) of what answers it, events left out."""
        frame = self.request(operation, **fields)
        return self.read_all(self._exchange(frame))

    def request(self, operation: str, **fields: Any) -> bytes:
        """Return a request's frame."""
        code = CODES[operation]
        if code >= CODES["RESERVE"]:
            fields = {"peer": self.peer} | fields
        return self.seal(REQ, next(self._sequence) & 0xFFFF, code, cbor2.dumps(fields))

    def do(self, operation: str, **fields: Any) -> dict[str, Any]:
        """Return the one answer's body.

        Raises:
            RefusedError: it is an ERR.
        """
        ((kind, body),) = self.ask(operation, **fields)
        if kind == ERR:
            raise RefusedError(body)
        assert kind == RSP
        answer: dict[str, Any] = body
        return answer

    def credit(self, transfer: int, credits: int, sequence: int) -> list[Answer]:  # noqa: A002
        """Give credit."""
        body = cbor2.dumps({"transfer": transfer, "credits": credits})
        return self.read_all(self._exchange(self.seal(CREDIT, sequence, CODES["FETCH"], body)))

    def read_all(self, frames: list[bytes]) -> list[Answer]:
        """Open frames in order; events go to ``events``."""
        answers = [self.read(frame) for frame in frames]
        self.events += [body for kind, body in answers if kind == EVT]
        return [answer for answer in answers if answer[0] != EVT]

    def read(self, frame: bytes) -> Answer:
        """Open a sealed frame."""
        head, body = frame[:7], frame[7:-4]
        assert frame == finish(head, body)
        assert head[2] == 1, "not sealed"
        plain = self._theirs.decrypt(self._their_iv + body[:8], body[8:], head)
        (number,) = struct.unpack(">Q", body[:8])
        assert number > self._heard
        self._heard = number
        return head[1], plain if head[1] == CHUNK else cbor2.loads(plain)

    def read_clear(self, frame: bytes) -> Answer:
        """Read a clear frame."""
        assert frame[2] == 0
        return frame[1], cbor2.loads(frame[7:-4])

    def _expand(self, label: str, size: int) -> bytes:
        info = b"boxlink 1 " + label.encode()
        return HKDFExpand(hashes.SHA256(), length=size, info=info).derive(self._prk)
