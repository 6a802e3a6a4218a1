"""A line through one file descriptor: a serial port's or a socket's."""

from __future__ import annotations

import math
import os
import select
from abc import abstractmethod
from typing import TYPE_CHECKING, Final, Protocol

from qkd_hal.errors import DeadlineError
from qkd_hal_drivers.serial_box.line import SLICE, ByteLine

if TYPE_CHECKING:
    from qkd_hal.sources import Deadline

__all__ = ["FdLine", "Opened"]

_CHUNK: Final = 1 << 16  # bytes of one read


class Opened(Protocol):
    """What keeps the descriptor: a ``serial.Serial`` or a ``socket``."""

    def fileno(self) -> int:
        """The descriptor, which does not block."""
        ...

    def close(self) -> None:
        """Release it."""
        ...


class FdLine(ByteLine):
    """Reads with ``os.read`` after one ``poll``, which a pipe wakes when the line is closed."""

    def __init__(self) -> None:
        super().__init__()
        self._opened: Opened | None = None
        self._fd = -1
        self._pipe: tuple[int, int] | None = None

    @abstractmethod
    def _obtain(self, deadline: Deadline) -> Opened: ...

    def _connect(self, deadline: Deadline) -> None:
        self._pipe = os.pipe()
        self._require_open()  # close() came before there was a pipe to wake us with
        self._opened = self._obtain(deadline)
        self._fd = self._opened.fileno()
        os.set_blocking(self._fd, False)
        self._readable = self._poller(self._fd, select.POLLIN)
        self._writable = self._poller(self._fd, select.POLLOUT)

    def _receive(self, deadline: Deadline) -> bytes:
        while self._wait(self._readable, deadline):
            try:
                data = os.read(self._fd, _CHUNK)
            except BlockingIOError:
                continue
            if not data:
                raise ConnectionResetError("it was unplugged, or the other end hung up")
            return data
        return b""

    def _transmit(self, data: bytes, deadline: Deadline) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._fd, view) :]
            except BlockingIOError:
                if not self._wait(self._writable, deadline):
                    raise DeadlineError("the line to the box takes no more bytes") from None

    def _poller(self, descriptor: int, event: int) -> select.poll:
        poller = select.poll()
        poller.register(descriptor, event)
        if self._pipe is not None:
            poller.register(self._pipe[0], select.POLLIN)
        return poller

    def _wait(self, poller: select.poll, deadline: Deadline) -> bool:
        """Wait for the descriptor; ``False`` once the time is up."""
        while True:
            ready = poller.poll(math.ceil(1000 * (deadline.remaining(SLICE) or 0)))
            self._require_open()
            if ready or deadline.expired:
                return bool(ready)

    def _wake(self) -> None:
        if self._pipe is not None:
            os.write(self._pipe[1], b"!")

    def _release(self) -> None:
        if self._opened is not None:
            self._opened.close()
        for end in self._pipe or ():
            os.close(end)
