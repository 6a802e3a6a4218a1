"""The peer of the drivers' benchmark: what an engineer writes to try a box on a bench.

It moves the same bytes as the driver, frame by frame, with the same libraries (pyserial or pyusb,
cobs, cbor2, AES-GCM), and no more: no states, no repeats, no deadlines, no errors, nothing
checked except by AES-GCM. The box sees no difference.
"""

from __future__ import annotations

import array
import hashlib
import hmac
import os
import zlib
from typing import Any, Protocol

import cbor2
import serial
from cobs import cobs
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

__all__ = ["BareHost", "BareSerial", "BareUsb"]

HELLO, AUTH, RESERVE, AGREE, FETCH, CONFIRM = 1, 2, 0x20, 0x22, 0x23, 0x24
CREDITS = 8
INLINE = 256


class Bare(Protocol):
    """A line: frames out and in. ``max_frame`` is what HELLO announces."""

    max_frame: int

    def send(self, frame: bytes) -> None: ...

    def receive(self) -> bytes: ...


class BareSerial:
    """A loop over pyserial."""

    max_frame = 8192

    def __init__(self, path: str) -> None:
        self._port = serial.Serial(path, timeout=5)
        self._rest = b""
        self._port.write(b"\0")

    def send(self, frame: bytes) -> None:
        self._port.write(b"\0" + cobs.encode(frame) + b"\0")

    def receive(self) -> bytes:
        while True:
            piece, found, rest = self._rest.partition(b"\0")
            if not found:
                self._rest += self._port.read(self._port.in_waiting or 1)
            elif not piece:
                self._rest = rest
            else:
                self._rest = rest
                frame: bytes = cobs.decode(piece)
                return frame

    def close(self) -> None:
        self._port.close()


class BareUsb:
    """A loop over pyusb."""

    max_frame = 32768

    def __init__(self, found: Any) -> None:
        self._found = found
        self._found.ctrl_transfer(0x41, 1, 0, 0, None)
        self._buffer = array.array("B", bytes(33280))

    def send(self, frame: bytes) -> None:
        self._found.write(0x01, frame, 5000)
        if len(frame) % 512 == 0:
            self._found.write(0x01, b"", 5000)

    def receive(self) -> bytes:
        size: int = self._found.read(0x81, self._buffer, 5000)
        return self._buffer[:size].tobytes()


class BareHost:
    """A session with a box over *line*."""

    def __init__(self, line: Bare, psk: bytes, peer: str) -> None:
        self._line = line
        self._peer = peer
        self._sequence = self._counter = 0
        hello = {
            "major": 1,
            "minor": 0,
            "nonce": os.urandom(32),
            "suites": [1],
            "credits": CREDITS,
            "features": [],
            "max_frame": line.max_frame,
        }
        ask = cbor2.dumps(hello)
        answer = self._clear(HELLO, ask)
        text = b"boxlink 1 transcript\0"
        text += b"".join(len(part).to_bytes(4, "big") + part for part in (ask, answer))
        secret = hmac.digest(hashlib.sha256(text).digest(), psk, "sha256")
        made = [expand(secret, label) for label in (b"host proof", b"host key", b"box key")]
        self._host_iv = expand(secret, b"host iv")[:4]
        self._box_iv = expand(secret, b"box iv")[:4]
        self._clear(AUTH, cbor2.dumps({"proof": made[0]}))
        self._host, self._box = AESGCM(made[1]), AESGCM(made[2])

    def reserve(self, size: int) -> bytes:
        token = os.urandom(16)
        fields = {"peer": self._peer, "size": size, "count": 1, "token": token}
        key_id: bytes = self._call(RESERVE, fields)["ids"][0]
        return key_id

    def agree(self, key_id: bytes, size: int) -> bytes:
        """Return the key if it comes along."""
        inline = {"inline": size} if size <= INLINE else {}
        ask = {"id": key_id, "peer": self._peer, **inline, "wait_ms": 1000}
        key: bytes = self._call(AGREE, ask).get("data", b"")
        return key

    def fetch(self, key_id: bytes, size: int) -> bytes:
        fields = {"id": key_id, "peer": self._peer, "size": size, "offset": 0}
        answer = self._call(FETCH, fields)
        data: bytes = answer["data"] if "data" in answer else self._transfer(answer, size)
        return data

    def confirm(self, key_id: bytes, end: int) -> None:
        self._call(CONFIRM, {"id": key_id, "end": end, "peer": self._peer})

    def _transfer(self, answer: dict[str, Any], size: int) -> bytes:
        parts = b""
        while len(parts) < size:
            parts += self._unsealed(self._line.receive())[8:]
            if len(parts) < size:
                self._send(6, FETCH, {"credits": 1, "transfer": answer["transfer"]})
        return parts

    def _clear(self, operation: int, body: bytes) -> bytes:
        self._sequence += 1
        self._line.send(framed(self._head(1, 0, operation), body))
        return self._line.receive()[7:-4]

    def _call(self, operation: int, fields: dict[str, object]) -> dict[str, Any]:
        self._sequence += 1
        self._send(1, operation, fields)
        answer: dict[str, Any] = cbor2.loads(self._unsealed(self._line.receive()))
        return answer

    def _send(self, kind: int, operation: int, fields: dict[str, object]) -> None:
        body = cbor2.dumps(fields)
        self._counter += 1
        head, counter = self._head(kind, 1, operation), self._counter.to_bytes(8, "big")
        sealed = self._host.encrypt(self._host_iv + counter, body, head)
        self._line.send(framed(head, counter + sealed))

    def _unsealed(self, frame: bytes) -> bytes:
        return self._box.decrypt(self._box_iv + frame[7:15], frame[15:-4], frame[:7])

    def _head(self, kind: int, flags: int, operation: int) -> bytes:
        sequence = self._sequence & 0xFFFF
        return bytes((1, kind, flags)) + sequence.to_bytes(2, "big") + operation.to_bytes(2, "big")


def expand(secret: bytes, label: bytes) -> bytes:
    """HKDF-Expand, one block."""
    return hmac.digest(secret, b"boxlink 1 " + label + b"\1", "sha256")


def framed(head: bytes, body: bytes) -> bytes:
    return head + body + zlib.crc32(head + body).to_bytes(4, "big")
