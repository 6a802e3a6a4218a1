"""Bytes to and from a box: what local ports, serial servers and TCP connections share.

One hook at a time reads or writes; ``close()`` comes from any thread, wakes it, and waits until
it has left before anything is released: a file descriptor that is closed under a reader may be
another file by the time it reads.
"""

from __future__ import annotations

import os
import termios
import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final

from qkd_hal.errors import DeviceClosedError, DeviceError, DeviceLostError, QKDError

if TYPE_CHECKING:
    from qkd_hal.sources import Deadline

__all__ = ["FAULTS", "SLICE", "ByteLine"]

SLICE: Final = 0.25
"""Seconds of one wait. A Ctrl-C that comes just before it begins is heard when it ends."""

FAULTS: Final = (OSError, termios.error, ValueError)
"""What an operating system or pyserial raises (its SerialException is an OSError)."""


class ByteLine(ABC):
    """A line that is opened once and closed once."""

    def __init__(self) -> None:
        self._turn = threading.Lock()  # held by the hook that runs
        self._closing = threading.Lock()
        self._closed = False
        self._pid = os.getpid()

    @property
    @abstractmethod
    def what_to_check(self) -> str:
        """What may be wrong when bytes come in and no answer among them."""

    def open(self, deadline: Deadline) -> None:
        """Connect; raises what `FrameTransport.open` says."""
        with self._turn:
            self._require_open()
            try:
                self._connect(deadline)
            except QKDError:
                raise
            except FAULTS as error:  # such as no descriptor left
                raise DeviceError(f"the line to the box cannot be opened: {error}") from None
            self._require_open()

    def read(self, deadline: Deadline) -> bytes:
        """Return what has come in, at least one byte, or nothing once the time is up."""
        with self._turn:
            self._require_open()
            try:
                data = self._receive(deadline)
            except QKDError:
                raise
            except FAULTS as error:
                raise _lost(error) from None
            self._require_open()
            return data

    def write(self, data: bytes, deadline: Deadline) -> None:
        """Send *data*; a part of it may be on its way when the time is up.

        Raises:
            DeadlineError: the line took no more until the deadline.
        """
        with self._turn:
            self._require_open()
            try:
                self._transmit(data, deadline)
            except QKDError:
                raise
            except FAULTS as error:
                raise _lost(error) from None

    def close(self) -> None:
        """Wake whoever waits and release everything; idempotent, from any thread."""
        with self._closing:
            if not self._closed:
                self._closed = True
                self._wake()
                with self._turn:
                    self._release()

    def __del__(self) -> None:
        # Whoever drops a device unclosed shall not run out of descriptors. In a forked child the
        # line is the parent's: to wake or shut anything there would cut it.
        if self._pid == os.getpid():
            self.close()

    @abstractmethod
    def _connect(self, deadline: Deadline) -> None: ...

    @abstractmethod
    def _receive(self, deadline: Deadline) -> bytes: ...

    @abstractmethod
    def _transmit(self, data: bytes, deadline: Deadline) -> None: ...

    @abstractmethod
    def _wake(self) -> None: ...

    @abstractmethod
    def _release(self) -> None: ...

    def _require_open(self) -> None:
        if self._closed:
            raise DeviceClosedError("the line to the box was closed")


def _lost(error: Exception) -> DeviceLostError:
    return DeviceLostError(
        f"the line to the box broke: {error}",
        cure="Check the cable and the box's power, then call init()",
    )
