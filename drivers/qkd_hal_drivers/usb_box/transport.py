"""Boxlink frames over USB bulk endpoints: ``docs/boxlink.md``, section 2.2."""

from __future__ import annotations

import math
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from qkd_hal.errors import DeadlineError, DeviceClosedError
from qkd_hal_drivers import _usb
from qkd_hal_drivers.usb_box.endpoints import Endpoints
from qkd_hal_drivers.usb_box.frames import FrameCollector

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qkd_hal.sources import Deadline

__all__ = ["UsbTransport"]

_MAX_CHUNK: Final = 16384  # key bytes of one CHUNK on USB
_LONGEST: Final = 2 * _MAX_CHUNK  # what the client announces in HELLO
_SLICE: Final = 0.1  # seconds that close() and Ctrl-C wait for a transfer at most


class UsbTransport:
    """A `FrameTransport` to the box with *ids* and, unless empty, *serial_number*."""

    def __init__(self, ids: tuple[int, int], serial_number: str, name: str) -> None:
        self._ids = ids
        self._serial_number = serial_number
        self._name = name
        self._turn = threading.Lock()  # held by the hook that runs
        self._closing = threading.Lock()
        self._closed = False
        self._endpoints: Endpoints | None = None
        self._cut_short = False  # the box may hold the first half of a frame
        self.heard = 0

    @property
    def max_chunk(self) -> int:
        """Key bytes of one CHUNK."""
        return _MAX_CHUNK

    def open(self, deadline: Deadline) -> None:
        """Find the box and claim its interface."""
        with self._turn:
            if self._closed:
                raise self._closed_error()
            found = _usb.find(self._ids, self._serial_number, device=self._name)
            self._endpoints = Endpoints(found, longest=_LONGEST, device=self._name)
            self._collector = FrameCollector(self._endpoints.packet, _LONGEST)

    def reset(self, deadline: Deadline) -> None:
        """Forget frames on their way, on both sides."""
        with self._at_work() as endpoints:
            self._collector.clear()
            endpoints.reset()

    def send(self, frame: bytes, deadline: Deadline) -> None:
        """Send one frame, and a zero-length packet where it fills its last one."""
        with self._at_work() as endpoints:
            if self._cut_short:
                endpoints.reset()
            self._cut_short = True
            rest = memoryview(frame)
            while rest:
                rest = rest[self._written(endpoints, rest, deadline) :]
            if len(frame) % endpoints.packet == 0:
                self._written(endpoints, rest, deadline)
            self._cut_short = False

    def receive(self, deadline: Deadline) -> bytes | None:
        """Return the next frame, ``None`` once the deadline has passed."""
        with self._at_work() as endpoints:
            while True:
                self._require_open()
                data = endpoints.read(self._slice(deadline))
                if data is None:
                    if deadline.expired:
                        return None
                    # A bulk read that finds nothing keeps the bus busy; the bell does not.
                    endpoints.wait_for_bell(self._slice(deadline))
                    continue
                self.heard += len(data)
                frame = self._collector.add(data)
                if frame is not None:
                    return frame
                if deadline.expired:
                    return None  # packets without an end

    def close(self) -> None:
        """Wake whoever waits and release the device; idempotent, from any thread."""
        with self._closing:
            if not self._closed:
                self._closed = True
                with self._turn:
                    if self._endpoints is not None:
                        self._endpoints.release()

    def why_silent(self) -> str:
        """The device is there, or `open` had failed."""
        return "Check that the box has started, and unplug it and plug it in again"

    @contextmanager
    def _at_work(self) -> Iterator[Endpoints]:
        with self._turn:
            if self._closed or self._endpoints is None:
                raise self._closed_error()
            yield self._endpoints

    def _written(self, endpoints: Endpoints, data: memoryview, deadline: Deadline) -> int:
        """Write some of *data*, or a zero-length packet where it is empty."""
        while True:
            self._require_open()
            moved = endpoints.write(data, self._slice(deadline))
            if moved is not None:
                return moved
            if deadline.expired:
                raise DeadlineError("the box takes no more bytes", device=self._name)

    def _require_open(self) -> None:
        if self._closed:
            raise self._closed_error()

    def _closed_error(self) -> DeviceClosedError:
        return DeviceClosedError("the box was closed", device=self._name)

    @staticmethod
    def _slice(deadline: Deadline) -> int:
        """Milliseconds for one transfer; never 0, which is libusb's word for ever."""
        return max(1, math.ceil((deadline.remaining(_SLICE) or 0) * 1000))
