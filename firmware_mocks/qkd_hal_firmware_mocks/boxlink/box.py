"""The firmware of a box: frames in, frames out (``docs/boxlink.md``).

No I/O of its own, except for the durable memory of its keys. `BoxFirmware` opens sessions
and keeps them; what a session may ask for is in `operations`.
"""

from __future__ import annotations

import hmac
import os
import sqlite3
import threading
import time
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import InvalidTag

from qkd_hal_firmware_mocks.boxlink import fields
from qkd_hal_firmware_mocks.boxlink.cbor import MalformedError, encode
from qkd_hal_firmware_mocks.boxlink.events import EventQueue
from qkd_hal_firmware_mocks.boxlink.frame import (
    CREDIT,
    ERR,
    EVT,
    REQ,
    RSP,
    SEALED,
    finish,
    pack_header,
    read_frame,
)
from qkd_hal_firmware_mocks.boxlink.opening import Opening
from qkd_hal_firmware_mocks.boxlink.operations import AUTH, BYE, HELLO, Operations
from qkd_hal_firmware_mocks.boxlink.refusals import BoxError, Code
from qkd_hal_firmware_mocks.boxlink.seal import SessionOverError

if TYPE_CHECKING:
    from collections.abc import Callable

    from qkd_hal_firmware_mocks.boxlink.frame import Frame
    from qkd_hal_firmware_mocks.boxlink.keys import BoxKeys
    from qkd_hal_firmware_mocks.boxlink.seal import Secrets, Session
    from qkd_hal_firmware_mocks.boxlink.settings import BoxSettings

__all__ = ["BoxFirmware"]

_HINT_SECONDS = 0.1  # between two answers that anybody on the line can provoke


class BoxFirmware:
    """One box. ``feed`` takes a frame and returns those that answer it; what the box says
    unasked goes to the function given to ``attach``. Safe from several threads.

    *lock* is shared with the box of the peer, *nonce* gives the bytes of HELLO.
    """

    def __init__(
        self,
        settings: BoxSettings,
        keys: BoxKeys,
        *,
        lock: threading.RLock | None = None,
        clock: Callable[[], float] = time.monotonic,
        nonce: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.settings = settings
        self.keys = keys
        self._clock = clock
        self._clock_error = 0.0
        self.operations = Operations(settings, keys)
        self.events = EventQueue()
        self._lock = lock or threading.RLock()
        self._opening = Opening(settings, self.clock, nonce)
        self._send: Callable[[bytes], None] = _nobody
        self._session: Session | None = None
        self._opened_by: Secrets | None = None
        self._last_hint = -_HINT_SECONDS

    def clock(self) -> float:
        """Return the box's time, in seconds."""
        return self._clock() + self._clock_error

    def jump_clock(self, seconds: float) -> None:
        """Let the clock go wrong."""
        self._clock_error += seconds

    def attach(self, send: Callable[[bytes], None]) -> None:
        """Take the function that sends events to the host."""
        self._send = send

    def feed(self, data: bytes) -> list[bytes]:
        """Take one frame; return the answer, whole frames in order."""
        frame = read_frame(data)
        if frame is None:
            return []
        with self._lock:
            try:
                return self._sealed(frame) if frame.flags & SEALED else self._clear(frame)
            except SessionOverError:
                self.end_session()
                return []

    def notify(self, **event: Any) -> None:
        """Tell the host something, now or once it listens (section 7.2)."""
        with self._lock:
            self.events.put(event)
            for frame in self._waiting_events():
                self._send(frame)

    def set_stored(self, size: int) -> None:
        """Let there be *size* bytes of key to start sessions with, and say so."""
        with self._lock:
            self.keys.supply.stored = size
            self.notify(event="keys", stored_keys=size // 32)

    def set_link(self, *, up: bool) -> None:
        """Cut or mend the quantum link at this end, and say so."""
        with self._lock:
            self.keys.link_up = up
            self.notify(event="link", up=up)

    def power_cycle(self) -> None:
        """Lose all that is not durable."""
        with self._lock:
            self.end_session()
            self._opening.forget()

    def end_session(self) -> None:
        """Forget the session, and erase what was reserved in it."""
        self._session = self._opened_by = None
        self.operations.end_session()

    def seal(self, kind: int, sequence: int, operation: int, plain: bytes) -> bytes:
        """Return a frame of the open session.

        Raises:
            SessionOverError: none is open, or it has used up its counters.
        """
        if self._session is None:
            raise SessionOverError
        return self._session.seal(kind, sequence, operation, plain)

    def _clear(self, frame: Frame) -> list[bytes]:
        steps = {HELLO: self._opening.hello, AUTH: self._auth}
        if frame.kind != REQ or frame.operation not in steps:
            return []
        try:
            kind, body = RSP, encode(steps[frame.operation](frame.body))
        except (BoxError, MalformedError) as error:
            kind, body = ERR, _error_body(error)
        return [finish(pack_header(kind, 0, frame.sequence, frame.operation), body)]

    def _auth(self, body: bytes) -> dict[str, Any]:
        proof = fields.read_fields(body, fields.AUTH)["proof"]
        if self._is_repeated(proof):
            return {"proof": self._opened_by.box_proof} if self._opened_by else {}
        half = self._opening.judge(proof)
        self.end_session()
        self._session, self._opened_by = half.secrets.session(), half.secrets
        self.operations.begin_session(max_frame=half.max_frame, credit=half.credit)
        return {"proof": half.secrets.box_proof}

    def _is_repeated(self, proof: bytes) -> bool:
        if self._session is None or self._opened_by is None or self._session.used:
            return False
        return hmac.compare_digest(proof, self._opened_by.host_proof)

    def _sealed(self, frame: Frame) -> list[bytes]:
        if self._session is None:
            return self._hint(frame)
        try:
            plain = self._session.unseal(frame)
        except InvalidTag:
            return self._hint(frame)
        if plain is None or frame.kind not in (REQ, CREDIT):
            return []
        return [*self._serve(frame, plain), *self._waiting_events()]

    def _hint(self, frame: Frame) -> list[bytes]:
        now = self.clock()
        # A clock that jumped back must not keep the box silent until it has caught up.
        if frame.kind != REQ or 0 <= now - self._last_hint < _HINT_SECONDS:
            return []
        self._last_hint = now
        body = _error_body(BoxError(Code.NO_SESSION, "no session"))
        return [finish(pack_header(ERR, 0, frame.sequence, frame.operation), body)]

    def _serve(self, frame: Frame, plain: bytes) -> list[bytes]:
        sequence, operation = frame.sequence, frame.operation
        try:
            if frame.kind == CREDIT:
                replies = self.operations.credit(sequence, plain)
            else:
                replies = self.operations.request(operation, sequence, plain)
            frames = [self.seal(kind, sequence, operation, body) for kind, body in replies]
        except (BoxError, MalformedError, sqlite3.Error) as error:
            return [self.seal(ERR, sequence, operation, _error_body(error))]
        if operation == BYE:
            self.end_session()
        return frames

    def _waiting_events(self) -> list[bytes]:
        # Before its first sealed frame a host may not know yet that it has a session.
        if self._session is None or not self._session.used:
            return []
        return [self.seal(EVT, number, 0, body) for number, body in self.events.take()]


def _nobody(_: bytes) -> None:
    """An event without a host."""


def _error_body(error: Exception) -> bytes:
    if isinstance(error, BoxError):
        return encode({"code": int(error.code), "text": error.text, **error.fields})
    code = Code.MALFORMED if isinstance(error, MalformedError) else Code.FAULT
    return encode({"code": int(code), "text": str(error)[:100]})
