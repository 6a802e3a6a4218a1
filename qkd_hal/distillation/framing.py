"""A session's frames: their sequence both ways, and the queue of what is to be sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qkd_hal.distillation.messages import NO_SESSION, WHOLE_SESSION, Frame, encode
from qkd_hal.errors import ProtocolError

if TYPE_CHECKING:
    from qkd_hal.distillation.messages import Hello, Message

__all__ = ["Framing"]


class Framing:
    """Numbers what goes out, and sorts what comes in into new, repeated and lost."""

    def __init__(self) -> None:
        self._session = NO_SESSION
        self._sent = self._received = 0
        self._outgoing: list[bytes] = []

    def open(self, session: bytes) -> None:
        """Begin *session*: both sequences start over."""
        self._session = session
        self._sent = self._received = 0

    def hello(self, hello: Hello) -> None:
        """Queue a HELLO, which belongs to no session."""
        self._outgoing.append(encode(Frame(NO_SESSION, 0, WHOLE_SESSION, hello)))

    def send(self, block: int, message: Message) -> bytes:
        """Queue *message* about *block*; return the bytes of its frame."""
        raw = encode(Frame(self._session, self._sent, block, message))
        self._sent += 1
        self._outgoing.append(raw)
        return raw

    def drain(self) -> list[bytes]:
        """Return and forget what is queued, in order."""
        messages, self._outgoing = self._outgoing, []
        return messages

    def is_next(self, frame: Frame) -> bool:
        """Tell a new frame of this session from repeats and strangers, which change nothing.

        Raises:
            ProtocolError: a frame before this one is missing.
        """
        if frame.session != self._session or frame.sequence < self._received:
            return False
        if frame.sequence > self._received:
            raise ProtocolError("a message was lost on the way")
        self._received += 1
        return True
