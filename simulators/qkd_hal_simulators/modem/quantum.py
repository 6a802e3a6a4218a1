"""The two ends of the quantum channel: each runs in a thread, one frame of light at a time."""

from __future__ import annotations

import logging
import queue
from typing import TYPE_CHECKING

import zmq

from qkd_hal.errors import ProtocolError
from qkd_hal_simulators.physics.frame import MAX_FRAME_BYTES, PhotonFrame

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    import numpy as np

    from qkd_hal.sources import DetectionBatch
    from qkd_hal_simulators.modem.record import LinkRecord
    from qkd_hal_simulators.modem.sockets import Waker
    from qkd_hal_simulators.physics.detector import Detector
    from qkd_hal_simulators.physics.emission_log import FrameLog
    from qkd_hal_simulators.physics.fibre import Fibre
    from qkd_hal_simulators.physics.source import LightSource

__all__ = ["MAX_FRAME_BYTES", "QUEUED_FRAMES", "Emitter", "Receiver"]

_LOG = logging.getLogger("qkd_hal.modem.quantum")
QUEUED_FRAMES = 4  # in a socket: enough to keep both ends busy
_QUEUED_BATCHES = 8  # between receiver and distillation
_SLICE_MS = 50


class Emitter:
    """Emits frames while *wanted* says so, and logs what it sent before it sends it."""

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        source: LightSource,
        log: FrameLog,
        *,
        frame_pulses: int,
        wanted: Callable[[], bool],
        record: LinkRecord,
    ) -> None:
        self._socket = socket
        self._source = source
        self._log = log
        self._frame_pulses = frame_pulses
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
        cells, frame = self._source.emit(self._log.end, self._frame_pulses)
        self._log.add(cells)
        self._record.light(frame.pulse_count)
        try:
            self._socket.send(frame.to_bytes(), zmq.NOBLOCK)
        except zmq.Again:  # the fibre was unplugged since poll(): the light is lost
            _LOG.debug("a frame found no receiver")


class Receiver:
    """Turns frames into detections; ``batches`` holds what distillation has not yet taken."""

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        fibre: Fibre,
        detector: Detector,
        rng: np.random.Generator,
        waker: Waker,
        record: LinkRecord,
    ) -> None:
        self.batches: queue.Queue[DetectionBatch] = queue.Queue(_QUEUED_BATCHES)
        self._socket = socket
        self._fibre = fibre
        self._detector = detector
        self._rng = rng
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
            frame = PhotonFrame.from_bytes(self._socket.recv())
        except ProtocolError as error:
            _LOG.warning("dropped a message on the quantum channel: %s", error)
            return
        arrived = self._fibre.transmit(frame, self._rng)
        self.batches.put(self._detector.detect(arrived, self._rng))
        self._record.light(frame.pulse_count)
        self._waker.set()
