"""The unit's serial line: commands out, answers and time stamps in, errors in our tree."""

from __future__ import annotations

import errno
import termios
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import serial

from qkd_hal.errors import (
    DeviceBusyError,
    DeviceClosedError,
    DeviceError,
    DeviceLostError,
    DeviceNotFoundError,
    DevicePermissionError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qkd_hal.sources import Deadline

__all__ = ["CHUNK_BYTES", "Tdc1Port"]

CHUNK_BYTES = 1 << 16  # of one read: 16,384 time stamps
_SLICE_SECONDS = 0.02  # how long a read may wait, and so close() for a read
_WRITE_SECONDS = 1.0
_MAX_ANSWER = 512  # bytes; answers are one short line
_FAULTS = (serial.SerialException, OSError, termios.error, TypeError, ValueError)


class Tdc1Port:
    """Owns the port. One thread reads; :meth:`close` may come from any."""

    def __init__(self, path: str, *, device: str) -> None:
        self._device = device
        self._closed = threading.Event()
        self._lock = threading.Lock()
        try:
            self._serial = serial.Serial(
                path, timeout=_SLICE_SECONDS, write_timeout=_WRITE_SECONDS, exclusive=True
            )
        except _FAULTS as error:
            raise _unopened(error, device) from None

    def quieten(self, deadline: Deadline) -> None:
        """End what may be running, and throw its rest away."""
        self.tell("abort")
        while self.read():
            deadline.check("the unit stops an earlier acquisition", device=self._device)

    def tell(self, command: str) -> None:
        """Send a command that has no answer."""
        with self._guarded():
            self._serial.write(command.encode() + b"\r\n")

    def ask(self, query: str, deadline: Deadline) -> str:
        """Send *query* and return the line that answers it, in printable characters."""
        self.tell(query)
        answer = bytearray()
        while not answer.endswith(b"\n") and len(answer) < _MAX_ANSWER:
            with self._guarded():
                answer += self._serial.read_until(b"\n", _MAX_ANSWER)
            deadline.check(f"the unit answers {query!r}", device=self._device)
        text = answer.decode("ascii", "replace").strip()
        return "".join(c if c.isprintable() else "?" for c in text)

    def read(self) -> bytes:
        """Return what comes within one slice of time, at most :data:`CHUNK_BYTES`."""
        with self._guarded():
            data: bytes = self._serial.read(CHUNK_BYTES)
        return data

    def close(self) -> None:
        """Stop the unit and release the port; idempotent, from any thread."""
        self._closed.set()
        with self._lock, suppress(*_FAULTS):
            if self._serial.is_open:
                self._serial.write(b"abort\r\n")
        with self._lock, suppress(*_FAULTS):
            self._serial.close()

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        with self._lock:
            if self._closed.is_set():
                raise DeviceClosedError("the unit was closed", device=self._device)
            try:
                yield
            except _FAULTS:
                raise DeviceLostError(
                    "the unit went away", device=self._device, cure="Plug it in and open it again"
                ) from None


def _unopened(error: Exception, device: str) -> DeviceError:
    number = getattr(error, "errno", None)
    if number in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        return DeviceNotFoundError("there is no such port", device=device, cure="Plug the unit in")
    if number in (errno.EACCES, errno.EPERM):
        cure = "Run: qkd-hal udev install; or join the group that owns the port (dialout)"
        return DevicePermissionError("this user may not open the port", device=device, cure=cure)
    if number in (errno.EBUSY, errno.EAGAIN):
        cure = "End the other process, which holds the port"
        return DeviceBusyError("the port is in use", device=device, cure=cure)
    return DeviceError("this is no serial port", device=device, cure="Name the unit's own port")
