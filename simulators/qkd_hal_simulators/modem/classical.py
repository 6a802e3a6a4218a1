"""What crosses the classical channel: the engines' messages, and a word between the hosts.

One byte of kind, then the body. Nothing here is trusted: the engine authenticates its own
messages, and all that a forged word of the host can do is to have more key distilled.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import zmq

from qkd_hal.distillation.session import MAX_IN_FLIGHT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["QUEUED_MESSAGES", "ClassicalChannel"]

QUEUED_MESSAGES = 4 * MAX_IN_FLIGHT  # a block's messages alternate, after at most two or three
_ENGINE, _HOST = b"E", b"H"
_WORD_SECONDS = 0.5  # between words of the host: also the sign of life
_HUNGER_SECONDS = 3.0  # how long the peer's wish for more key is believed
_AT_ONCE = 16  # messages handled before the caller looks after its other work


class ClassicalChannel:
    """The socket to the peer. Belongs to the thread that distils."""

    def __init__(
        self, socket: zmq.Socket[bytes], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.socket = socket
        self._clock = clock
        self._next_word = 0.0
        self._hungry_until = 0.0

    @property
    def peer_hungry(self) -> bool:
        """Whether the peer said lately that it wants more key."""
        return self._clock() < self._hungry_until

    def send(self, message: bytes) -> bool:
        """Send one message of the engine; false if it went nowhere, as on a cut line."""
        return self._try_send(_ENGINE + message)

    def say(self, *, hungry: bool) -> None:
        """Tell the peer, now and then, that we live and whether we want more key."""
        if self._clock() >= self._next_word:
            self._next_word = self._clock() + _WORD_SECONDS
            self._try_send(_HOST + bytes([hungry]))

    def received(self) -> Iterator[bytes]:
        """Yield the engine's messages that are here; empty ones stand for mere life."""
        for _ in range(_AT_ONCE):
            try:
                raw = self.socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            if raw[:1] == _HOST:
                hungry = raw == _HOST + b"\1"
                self._hungry_until = self._clock() + _HUNGER_SECONDS if hungry else 0.0
            yield raw[1:] if raw[:1] == _ENGINE else b""

    def _try_send(self, raw: bytes) -> bool:
        try:
            self.socket.send(raw, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True
