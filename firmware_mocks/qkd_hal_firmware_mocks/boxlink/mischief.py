"""Broken and hostile firmware: what a host must survive from a box that proved itself."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from qkd_hal_firmware_mocks.boxlink.cbor import encode
from qkd_hal_firmware_mocks.boxlink.frame import (
    CHUNK,
    ERR,
    REQ,
    RSP,
    finish,
    pack_header,
    read_frame,
)
from qkd_hal_firmware_mocks.boxlink.operations import AGREE, BIND, HELLO
from qkd_hal_firmware_mocks.boxlink.refusals import BoxError, Code
from qkd_hal_firmware_mocks.boxlink.seal import SEAL_BYTES, SessionOverError

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from qkd_hal_firmware_mocks.boxlink.box import BoxFirmware
    from qkd_hal_firmware_mocks.boxlink.frame import Frame

__all__ = ["DEVICE_FAULTS", "Mischief"]

_REFUSALS = {
    "busy": Code.BUSY,
    "keys-exhausted": Code.KEYS_EXHAUSTED,
    "key-mismatch": Code.KEY_MISMATCH,
    "store-full": Code.STORE_FULL,
    "link-down": Code.LINK_DOWN,
    "broken": Code.FAULT,
    "shutting-down": Code.SHUTTING_DOWN,
}
_CLOCK_JUMP = 3600.0  # seconds
_ENDLESS = 300  # frames; more than a host's buffers, few enough for a test
_HUGE = (
    bytes.fromhex("a1616e5affffffff") + bytes(900),  # a string of 4 GiB
    bytes.fromhex("a1616e9affffffff") + bytes(900),  # a list of 2^32 - 1 items
    bytes.fromhex("bbffffffffffffffff") + bytes(900),  # a map of 2^64 - 1 pairs
    b"\xa1\x61n" + b"\x81" * 900,  # nested 900 deep
)
_IN_PLACE_OF = {BIND: "size", AGREE: "agreement"}  # what a key stands for that comes along
_TOO_LONG = bytes(4097)  # for any host
Frames = tuple[list[bytes], bytes]


class Mischief:
    """Serves one request of *box* with a fault: whole frames, and one that is cut off."""

    def __init__(self, box: BoxFirmware, chance: Random) -> None:
        self._box = box
        self._chance = chance
        self._acts: dict[str, Callable[[bytes], Frames]] = {
            "reset": self._reset,
            "brown-out": self._brown_out,
            "version": self._version,
            "lie": self._lie,
            "clock": self._clock,
            "endless": self._endless,
            "forge": self._forge,
            "hint": self._hint,
            "huge": self._huge,
        }

    def serve(self, fault: str, data: bytes) -> Frames:
        """Return what leaves the box."""
        if fault in _REFUSALS:
            return self._refuse(_REFUSALS[fault], data)
        return self._acts[fault](data)

    def _refuse(self, code: Code, data: bytes) -> Frames:
        self._box.operations.refuse = BoxError(code, "by request", retry_ms=1)
        try:
            return self._box.feed(data), b""
        finally:
            self._box.operations.refuse = None

    def _reset(self, data: bytes) -> Frames:
        frames = self._box.feed(data)
        self._box.power_cycle()
        kept = self._chance.randrange(len(frames)) if frames else 0
        return frames[:kept], frames[kept] if frames else b""

    def _brown_out(self, data: bytes) -> Frames:
        answers: list[dict[str, Any]] = []
        frames = self._tampered(data, answers.append)
        if any({"data", "transfer"} & answer.keys() for answer in answers):
            self._box.power_cycle()
        return frames, b""

    def _version(self, data: bytes) -> Frames:
        frame = _asked(data)
        if frame.operation == HELLO:
            body = encode({"code": int(Code.VERSION), "text": "boxlink 2 only", "major": 2})
            return [_clear(frame, ERR, body)], b""
        answers = self._box.feed(data)
        return [finish(b"\2" + each[1:7], each[7:-4]) for each in answers], b""

    def _lie(self, data: bytes) -> Frames:
        place = _IN_PLACE_OF.get(_asked(data).operation, "")
        return self._tampered(data, lambda answer: self._distort(answer, place)), b""

    def _tampered(self, data: bytes, tamper: Callable[[dict[str, Any]], None]) -> list[bytes]:
        self._box.operations.tamper = tamper
        try:
            return self._box.feed(data)
        finally:
            self._box.operations.tamper = None

    def _distort(self, answer: dict[str, Any], place: str) -> None:
        """Make one figure or length wrong, in a way that a host can tell.

        Of a key that stands in the *place* of a figure, the host may not know the length.
        """
        if place and "data" in answer:
            answer.update(self._chance.choice([{"data": b""}, {"data": _TOO_LONG}, {place: 1}]))
            return
        name = self._chance.choice(sorted(answer)) if answer else ""
        value = answer.get(name)
        if isinstance(value, (bytes, list)):
            shorter = value and self._chance.random() < 0.5
            answer[name] = value[:-1] if shorter else [*value, *(value[:1] or [-1])]
            if isinstance(value, bytes):
                answer[name] = bytes(answer[name])
        elif isinstance(value, str):
            answer[name] = value * 100
        else:
            answer[name] = self._chance.choice([-1, 1 << 40, 1 << 63])

    def _clock(self, data: bytes) -> Frames:
        self._box.jump_clock(self._chance.choice([-_CLOCK_JUMP, _CLOCK_JUMP]))
        return self._box.feed(data), b""

    def _endless(self, data: bytes) -> Frames:
        frame = _asked(data)
        answers = self._box.feed(data)
        number = struct.pack(">II", self._chance.getrandbits(32), 0)
        for at in range(_ENDLESS):
            part = number[:4] + struct.pack(">I", at * 64) + bytes(64)
            answers += self._sealed(frame, CHUNK, part)
        return answers, b""

    def _forge(self, data: bytes) -> Frames:
        frame = _asked(data)
        empty = encode({})
        noise = self._chance.randbytes(SEAL_BYTES + 40)
        forged = [_clear(frame, RSP, empty), finish(pack_header(RSP, 1, *frame[2:4]), noise)]
        return [*forged, *self._box.feed(data)], b""

    def _hint(self, data: bytes) -> Frames:
        body = encode({"code": int(Code.NO_SESSION), "text": "no session"})
        return [_clear(_asked(data), ERR, body), *self._box.feed(data)], b""

    def _huge(self, data: bytes) -> Frames:
        frame = _asked(data)
        body = self._chance.choice(_HUGE)
        self._box.feed(data)  # the request is done; what it gave is lost
        return self._sealed(frame, RSP, body) or [_clear(frame, RSP, body)], b""

    def _sealed(self, frame: Frame, kind: int, body: bytes) -> list[bytes]:
        try:
            return [self._box.seal(kind, frame.sequence, frame.operation, body)]
        except SessionOverError:
            return []


DEVICE_FAULTS = frozenset(_REFUSALS) | {
    "reset",
    "brown-out",
    "version",
    "lie",
    "clock",
    "endless",
    "forge",
    "hint",
    "huge",
}


def _asked(data: bytes) -> Frame:
    frame = read_frame(data)
    if frame is None or frame.kind != REQ:
        raise ValueError("faults befall requests")
    return frame


def _clear(frame: Frame, kind: int, body: bytes) -> bytes:
    return finish(pack_header(kind, 0, frame.sequence, frame.operation), body)
