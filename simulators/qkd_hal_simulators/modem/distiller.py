"""The thread that distils: between the engine, the classical channel and the store.

The engine decides what is said; here is when. Durable first: a block and its pad segment
are on the disk before the engine hears ``stored``, and so before the peer does.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import zmq

from qkd_hal.distillation.events import (
    BlockAborted,
    BlockConfirmed,
    BlockDistilled,
    BlockDropped,
    PeerRefused,
    Synchronised,
)
from qkd_hal.distillation.session import Waiting

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable

    from qkd_hal.distillation.events import Event
    from qkd_hal.distillation.session import DistillationSession
    from qkd_hal_simulators.modem.appetite import Appetite
    from qkd_hal_simulators.modem.block_store import BlockStore
    from qkd_hal_simulators.modem.classical import ClassicalChannel
    from qkd_hal_simulators.modem.record import LinkRecord
    from qkd_hal_simulators.modem.sockets import Waker

__all__ = ["Distiller", "QuantumWork"]

_LOG = logging.getLogger("qkd_hal.modem.distil")
_SLICE_MS = 50
_GATHERED = 4  # messages answered in one go: each go wakes the socket's thread, and the peer
_TICK_SECONDS = 0.1  # between looks at store and clock
_LAST_ANSWER_SECONDS = 16.0
_ANSWER_DECAY = 0.9  # per good block: a slow machine keeps the time that it turned out to need
_FIRST_RETRY_SECONDS = 0.25  # for the peer's HELLO, doubled while nobody is there
_LAST_RETRY_SECONDS = 2.0
_FIRST_PAUSE_SECONDS = 0.1  # after a bad block, doubled with each more in a row
_LAST_PAUSE_SECONDS = 2.0


class QuantumWork(Protocol):
    """What the distilling thread does for its end of the quantum channel."""

    def __call__(self, session: DistillationSession, /) -> Iterable[Event]:
        """Hand over new detections, or see to the emission log; return what came of it."""
        ...


class Distiller:
    """Runs one engine until told to stop."""

    def __init__(
        self,
        session: DistillationSession,
        channel: ClassicalChannel,
        blocks: BlockStore,
        record: LinkRecord,
        appetite: Appetite,
        quantum: QuantumWork,
        waker: Waker,
        *,
        answer_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._session = session
        self._channel = channel
        self._blocks = blocks
        self._record = record
        self._appetite = appetite
        self._quantum = quantum
        self._waker = waker
        self._clock = clock
        self._progress = clock()
        self._block_began = self._progress
        self._retry = _FIRST_RETRY_SECONDS
        self._next_tick = 0.0
        self._first_answer = self._answer = answer_seconds  # doubled each time it was too short
        self._pause = _FIRST_PAUSE_SECONDS
        self._resume_at = 0.0

    def run(self, stop: threading.Event) -> None:
        """Distil until *stop* is set."""
        poller = zmq.Poller()
        poller.register(self._channel.socket, zmq.POLLIN)
        poller.register(self._waker.fileno(), zmq.POLLIN)
        self._handle(self._session.start())
        while not stop.is_set():
            if not self._take_in():
                # New blocks start only while those under way leave this end idle.
                self._waker.clear()
                self._handle(self._quantum(self._session))
                self._send()
                poller.poll(_SLICE_MS)
            self._tick()

    def _take_in(self) -> bool:
        """Act on some of what the peer said, and answer; false if it said nothing."""
        count = 0
        for count, message in enumerate(self._channel.received(), 1):
            self._receive(message)
            if not count % _GATHERED:
                self._send()
        self._send()
        return count > 0

    def _receive(self, message: bytes) -> None:
        self._record.heard()
        if message:
            self._progress = self._clock()
            self._retry = _FIRST_RETRY_SECONDS
            self._handle(self._session.receive(message))

    def _handle(self, events: Iterable[Event]) -> None:
        for event in events:
            self._handle_one(event)

    def _handle_one(self, event: Event) -> None:
        match event:
            case BlockDistilled():
                self._store(event)
            case BlockConfirmed(number):
                self._blocks.confirm(number)
            case BlockDropped(number):
                self._blocks.drop(number)
            case BlockAborted(number, error, report):
                _LOG.warning("block %d was aborted: %s", number, error)
                self._record.aborted(error, report)
                self._rest()
            case PeerRefused(error):
                _LOG.error("the peer cannot work with us: %s", error)
                self._record.refused(error)
            case Synchronised(session):
                _LOG.info("in step with the peer, session %s", session)

    def _store(self, event: BlockDistilled) -> None:
        self._blocks.add(event.number, event.key, event.refill)
        now = self._clock()
        report = replace(event.report, seconds=now - self._block_began)
        self._block_began = now
        _LOG.info("block %d: %s", event.number, report.to_json())
        self._record.distilled(report)
        self._pause = _FIRST_PAUSE_SECONDS
        self._answer = max(self._first_answer, self._answer * _ANSWER_DECAY)
        self._handle(self._session.stored(event.number))

    def _rest(self) -> None:
        """Let some time go by before the next block: noise or Eve will still be there."""
        self._session.paused = True
        self._resume_at = self._clock() + self._pause
        self._pause = min(2 * self._pause, _LAST_PAUSE_SECONDS)

    def _send(self) -> None:
        for message in self._session.outgoing():
            self._channel.send(message)

    def _tick(self) -> None:
        now = self._clock()
        if now < self._next_tick:
            return
        self._next_tick = now + _TICK_SECONDS
        hungry = self._appetite.update()
        self._channel.say(hungry=hungry)
        wanted = hungry or self._channel.peer_hungry
        self._session.paused = not wanted or now < self._resume_at
        self._send()
        if now - self._progress > self._patience():
            self._start_over()

    def _patience(self) -> float:
        waiting = self._session.waiting_for
        if waiting is Waiting.HELLO:
            return self._retry
        return self._answer if waiting is Waiting.PEER else float("inf")

    def _start_over(self) -> None:
        """The peer is silent: give the block up and begin a new session, ever more slowly."""
        self._progress = self._clock()
        if self._session.waiting_for is Waiting.PEER:
            self._answer = min(2 * self._answer, _LAST_ANSWER_SECONDS)
        self._retry = min(2 * self._retry, _LAST_RETRY_SECONDS)
        self._handle(self._session.abort("the peer did not answer in time"))
        self._send()
