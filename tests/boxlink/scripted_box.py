"""A box that answers as a test tells it, on a line that loses what a test wants lost."""

from __future__ import annotations

import hashlib
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

import cbor2

from qkd_hal.errors import DeviceClosedError
from qkd_hal_drivers.boxlink.frame import SEALED, Frame, FrameType, decode_frame, encode_frame
from qkd_hal_drivers.boxlink.frame import header as frame_header
from qkd_hal_drivers.boxlink.seal import Opener, Sealer, SessionKeys

if TYPE_CHECKING:
    from collections.abc import Callable

    from qkd_hal.sources import Deadline

PSK = bytes(range(32))
KEY = b"".join(hashlib.sha256(bytes([n])).digest() for n in range(256)) * 10  # 80 KiB
INFO = {
    "vendor": "Scripted",
    "model": "Box",
    "firmware": "0",
    "capabilities": ["look-up"],
    "origin": "simulated",
    "nodes": [],
    "site": "alice",
    "peers": ["bob"],
    "max_key": 1 << 20,
}


class Answer(NamedTuple):
    """One frame of an answer; ``clear`` leaves it unsealed."""

    kind: FrameType
    body: bytes
    clear: bool = False


def rsp(**fields: Any) -> Answer:
    return Answer(FrameType.RSP, cbor2.dumps(fields))


def err(code: int, *, clear: bool = False, **fields: Any) -> Answer:
    return Answer(FrameType.ERR, cbor2.dumps({"code": code, "text": "", **fields}), clear)


def chunk(transfer: int, offset: int, data: bytes) -> Answer:
    head = transfer.to_bytes(4, "big") + offset.to_bytes(4, "big")
    return Answer(FrameType.CHUNK, head + data)


def announced(transfer: int, data: bytes) -> Answer:
    return rsp(transfer=transfer, total=len(data), sha256=hashlib.sha256(data).digest())


class ScriptedBox:
    """A `FrameTransport` with its box at the other end.

    ``script`` gets operation and fields of each sealed frame and returns the answer.
    Silence takes no time: a receive with nothing to give returns at once.
    """

    max_chunk = 4096

    def __init__(self, script: Callable[[int, dict[str, Any]], list[Answer]]) -> None:
        self.script = script
        self.heard = 0
        self.silences = 0
        self.requests: list[tuple[int, dict[str, Any]]] = []
        self.frames: deque[bytes] = deque()
        self.opening: dict[int, list[Answer]] = {}
        self.closed = False
        self._sealer: Sealer | None = None

    def open(self, deadline: Deadline) -> None:
        pass

    def reset(self, deadline: Deadline) -> None:
        self.frames.clear()

    def send(self, frame: bytes, deadline: Deadline) -> None:
        received = decode_frame(frame)
        fields, answers = self._answers(received)
        self.requests.append((received.operation, fields))
        for answer in answers:
            self.frames.append(self._framed(received, answer))

    def receive(self, deadline: Deadline) -> bytes | None:
        if self.closed:
            raise DeviceClosedError("closed")
        if not self.frames:
            self.silences += 1
            return None
        self.heard += len(self.frames[0])
        return self.frames.popleft()

    def close(self) -> None:
        self.closed = True

    def why_silent(self) -> str:
        return "Look at the scripted box"

    def count(self, operation: int) -> int:
        """Return how often the host asked for *operation*."""
        return [code for code, _ in self.requests].count(operation)

    def _answers(self, frame: Frame) -> tuple[dict[str, Any], list[Answer]]:
        if frame.sealed:
            plain = self._opener.open(frame.header, frame.body, bytearray(9000))
            fields = cbor2.loads(plain)
            return fields, self.script(frame.operation, fields)
        fields = cbor2.loads(frame.body)
        answers = self._hello(frame) if frame.operation == 1 else self._auth()
        queued = self.opening.get(frame.operation)
        return fields, [queued.pop(0)] if queued else answers

    def _hello(self, frame: Frame) -> list[Answer]:
        answer = rsp(
            major=1,
            minor=0,
            nonce=bytes(32),
            max_frame=8192,
            suite=1,
            serial="SN-1",
            features=[],
        )
        self._keys = SessionKeys.derive(bytearray(PSK), bytes(frame.body), answer.body)
        return [answer]

    def _auth(self) -> list[Answer]:
        self._sealer = Sealer(self._keys.box_key, self._keys.box_iv)
        self._opener = Opener(self._keys.host_key, self._keys.host_iv)
        return [rsp(proof=self._keys.box_proof)._replace(clear=True)]

    def _framed(self, request: Frame, answer: Answer) -> bytes:
        if self._sealer is None or answer.clear or not request.sealed:
            head = frame_header(answer.kind, 0, request.sequence, request.operation)
            return encode_frame(head, answer.body)
        head = frame_header(answer.kind, SEALED, request.sequence, request.operation)
        return encode_frame(head, self._sealer.seal(head, answer.body))
