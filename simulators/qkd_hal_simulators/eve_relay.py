"""The classical channel through Eve's hands: two sockets, and whoever decides between them."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

import zmq

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

__all__ = ["ClassicalRelay", "Tampering"]

_SLICE_MS = 50
_ENGINE = b"E"  # the host's byte before a message of the distillation engine


class Tampering(Protocol):
    """Decides what becomes of messages; a *way* is 0 or 1, the end that a message came from."""

    def tamper(self, raw: bytes, way: int, now: float) -> list[bytes]:
        """Return what goes on in place of *raw*."""
        ...

    def due(self, now: float) -> list[tuple[int, bytes]]:
        """Return messages that were held back until now, each with its way."""
        ...


class ClassicalRelay:
    """Passes messages between *near* and *far*.

    *hear* is told each message of the engines, as its sender wrote it. Without *tampering* all
    goes through untouched.
    """

    def __init__(
        self,
        near: zmq.Socket[bytes],
        far: zmq.Socket[bytes],
        *,
        hear: Callable[[bytes], None],
        tampering: Tampering | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ends = (near, far)
        self._hear = hear
        self._tampering = tampering
        self._clock = clock

    def run(self, stop: threading.Event) -> None:
        """Relay until *stop* is set."""
        poller = zmq.Poller()
        for end in self._ends:
            poller.register(end, zmq.POLLIN)
        while not stop.is_set():
            ready = dict(poller.poll(_SLICE_MS))
            for way, end in enumerate(self._ends):
                if end in ready:
                    self._pass(way, end.recv())
            self._release()

    def _pass(self, way: int, raw: bytes) -> None:
        if raw[:1] == _ENGINE:
            self._hear(raw[1:])
        passed = [raw]
        if self._tampering is not None:
            passed = self._tampering.tamper(raw, way, self._clock())
        for message in passed:
            self._send(way, message)

    def _release(self) -> None:
        if self._tampering is not None:
            for way, raw in self._tampering.due(self._clock()):
                self._send(way, raw)

    def _send(self, way: int, raw: bytes) -> None:
        # As between two modems: what finds no room, or nobody there, is lost on the way.
        with suppress(zmq.Again):
            self._ends[1 - way].send(raw, zmq.NOBLOCK)
