"""The peer of the drivers' benchmark: what an engineer writes to try a box on a bench.

It moves the same bytes as the driver, frame by frame, and no more: requests from templates,
answers cut at fixed places, no states, no repeats, no deadlines, nothing checked except by
AES-GCM. The box sees no difference.
"""

from __future__ import annotations

import array
import hashlib
import hmac
import os
import zlib
from typing import Any, Protocol

import serial
from cobs import cobs
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

__all__ = ["BareHost", "BareSerial", "BareUsb"]

HELLO, AUTH, RESERVE, BIND, AGREE, FETCH, CONFIRM = 1, 2, 0x20, 0x21, 0x22, 0x23, 0x24
CREDITS = 8
ID = b"\x62id\x50"  # CBOR: the key "id" and the head of 16 bytes


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
    """A session with a box over *line*. *peer* has at most 23 bytes."""

    def __init__(self, line: Bare, psk: bytes, peer: str) -> None:
        self._line = line
        self._sequence = self._counter = 0
        self._peer = b"\x64peer" + bytes([0x60 + len(peer)]) + peer.encode()
        ask = b"\xa7\x65major\x01\x65minor\x00\x65nonce\x58\x20" + os.urandom(32)
        ask += b"\x66suites\x81\x01\x67credits" + bytes([CREDITS])
        ask += b"\x68features\x80\x69max_frame\x19" + line.max_frame.to_bytes(2, "big")
        answer = self._clear(HELLO, ask)
        text = b"boxlink 1 transcript\0"
        text += b"".join(len(part).to_bytes(4, "big") + part for part in (ask, answer))
        secret = hmac.digest(hashlib.sha256(text).digest(), psk, "sha256")
        made = [expand(secret, label) for label in (b"host proof", b"host key", b"box key")]
        self._host_iv, self._box_iv = (
            expand(secret, end + b" iv")[:4] for end in (b"host", b"box")
        )
        self._clear(AUTH, b"\xa1\x65proof\x58\x20" + made[0])
        self._host, self._box = AESGCM(made[1]), AESGCM(made[2])

    def reserve(self, size: int) -> bytes:
        body = b"\xa4" + self._peer + b"\x64size\x1a" + size.to_bytes(4, "big")
        return self._call(RESERVE, body + b"\x65count\x01\x65token\x50" + os.urandom(16))[-16:]

    def bind(self, key_id: bytes) -> None:
        self._call(BIND, b"\xa2" + self._peer + ID + key_id)

    def agree(self, key_id: bytes) -> None:
        self._call(AGREE, b"\xa3" + self._peer + ID + key_id + b"\x67wait_ms\x19\x03\xe8")

    def fetch(self, key_id: bytes, size: int) -> bytes:
        body = b"\xa4" + self._peer + ID + key_id
        body += b"\x66offset\x00\x64size\x1a" + size.to_bytes(4, "big")
        answer = self._call(FETCH, body)
        return answer[-size:] if size <= 4096 else self._transfer(answer, size)

    def confirm(self, key_id: bytes, end: int) -> None:
        self._call(CONFIRM, b"\xa3" + self._peer + ID + key_id + b"\x63end\x1a" + end.to_bytes(4))

    def _transfer(self, answer: bytes, size: int) -> bytes:
        number = answer[answer.index(b"transfer") + 8 :].split(b"\x65total")[0]
        body = b"\xa2\x67credits\x01\x68transfer" + number
        parts = b""
        while len(parts) < size:
            parts += self._unsealed(self._line.receive())[8:]
            if len(parts) < size:
                self._send(6, FETCH, body)
        return parts

    def _clear(self, operation: int, body: bytes) -> bytes:
        self._sequence += 1
        self._line.send(framed(self._head(1, 0, operation), body))
        return self._line.receive()[7:-4]

    def _call(self, operation: int, body: bytes) -> bytes:
        self._sequence += 1
        self._send(1, operation, body)
        return self._unsealed(self._line.receive())

    def _send(self, kind: int, operation: int, body: bytes) -> None:
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
