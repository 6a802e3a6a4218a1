"""The two ends of the quantum channel: each runs in a thread, one frame of light at a time."""

from __future__ import annotations

import logging
import queue
from typing import TYPE_CHECKING

import zmq

from qkd_hal.errors import ProtocolError
from qkd_hal_simulators.physics.frame import MAX_FRAME_BYTES

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from qkd_hal.sources import DetectionBatch
    from qkd_hal_simulators.modem.record import LinkRecord
    from qkd_hal_simulators.modem.sampling import Emission, Reception
    from qkd_hal_simulators.modem.sockets import Waker

__all__ = ["MAX_FRAME_BYTES", "QUEUED_FRAMES", "Emitter", "Receiver"]

_LOG = logging.getLogger("qkd_hal.modem.quantum")
QUEUED_FRAMES = 4  # in a socket: enough to keep both ends busy
_QUEUED_BATCHES = 8  # between receiver and distillation
_SLICE_MS = 50


class Emitter:
    """Sends frames while *wanted* says so."""

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        emission: Emission,
        *,
        wanted: Callable[[], bool],
        record: LinkRecord,
    ) -> None:
        self._socket = socket
        self._emission = emission
        self._wanted = wanted
        self._record = record

    def run(self, stop: threading.Event) -> None:
        """Emit until *stop* is set."""
        while not stop.is_set():
            if not self._wanted():
                stop.wait(_SLICE_MS / 1000)
            elif self._socket.poll(_SLICE_MS, zmq.POLLOUT):
                self._emit_one()

    def _emit_one(self) -> None:
        pulses, frame = self._emission.emit()
        self._record.light(pulses)
        try:
            self._socket.send(frame, zmq.NOBLOCK)
        except zmq.Again:  # the fibre was unplugged since poll(): the light is lost
            _LOG.debug("a frame found no receiver")


class Receiver:
    """Turns frames into detections; ``batches`` holds what distillation has not yet taken."""

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        reception: Reception,
        waker: Waker,
        record: LinkRecord,
    ) -> None:
        self.batches: queue.Queue[DetectionBatch] = queue.Queue(_QUEUED_BATCHES)
        self._socket = socket
        self._reception = reception
        self._waker = waker
        self._record = record

    def run(self, stop: threading.Event) -> None:
        """Receive until *stop* is set."""
        while not stop.is_set():
            # While distillation is behind, frames wait in the socket and stop the emitter.
            if self.batches.full():
                stop.wait(_SLICE_MS / 1000)
            elif self._socket.poll(_SLICE_MS):
                self._receive_one()

    def _receive_one(self) -> None:
        try:
            batch = self._reception.measure(self._socket.recv())
        except ProtocolError as error:
            _LOG.warning("dropped a message on the quantum channel: %s", error)
            return
        self.batches.put(batch)
        self._record.light(batch.end_pulse - batch.first_pulse)
        self._waker.set()
