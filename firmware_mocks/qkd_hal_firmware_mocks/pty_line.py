"""A firmware behind a pseudo-terminal: what a host opens like ``/dev/ttyACM0``."""

from __future__ import annotations

import os
import select
import threading
import tty
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from qkd_hal_firmware_mocks.stream import ByteStream

__all__ = ["PtyLine"]

_MAX_UNSENT = 1 << 20  # bytes; a device whose host does not read loses data, not memory
_CHUNK = 1 << 16
_LOOK_MS = 5  # between looks for a host that opens the port; no event tells


class PtyLine:
    """Serves *firmware* on a new pseudo-terminal, in a thread, until closed.

    ``path`` is what the host opens. A host that closes it hangs up; it may come again.
    """

    def __init__(self, firmware: ByteStream) -> None:
        self._firmware = firmware
        self._master, host_end = os.openpty()
        tty.setraw(host_end)
        self.path = os.ttyname(host_end)
        os.close(host_end)  # kept open, it would hide that the host hangs up
        os.set_blocking(self._master, False)
        self._waker, self._alarm = os.pipe()
        os.set_blocking(self._waker, False)
        os.set_blocking(self._alarm, False)
        self._poller = select.poll()
        self._poller.register(self._waker, select.POLLIN)
        self._lock = threading.Lock()
        self._unsent = bytearray()
        self._connected = False
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pty", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Unplug: the host's next read fails. Idempotent."""
        if not self._stopped.is_set():
            self._stopped.set()
            self._wake()
            self._thread.join()
            # Not in the thread: it may end before the wake, whose bytes another file would get.
            with self._lock:
                for end in (self._master, self._waker, self._alarm):
                    os.close(end)

    def _send(self, data: bytes) -> None:
        with self._lock:
            if not self._connected or len(self._unsent) + len(data) > _MAX_UNSENT:
                return
            sent = 0 if self._unsent else self._write(data)
            self._unsent += data[sent:]
            if self._unsent:
                self._wake()

    def _write(self, data: bytes) -> int:
        try:
            return os.write(self._master, data)
        except OSError:  # full, or hung up, which the next read tells
            return 0

    def _wake(self) -> None:
        try:
            os.write(self._alarm, b"!")
        except BlockingIOError:
            return  # it is awake already

    def _run(self) -> None:
        try:
            while not self._stopped.is_set():
                self._step()
        finally:
            self._hang_up()

    def _step(self) -> None:
        if self._connected:
            wanted = select.POLLIN | (select.POLLOUT if self._unsent else 0)
            self._poller.modify(self._master, wanted)
        ready = dict(self._poller.poll(None if self._connected else _LOOK_MS))
        if self._waker in ready:
            os.read(self._waker, _CHUNK)
        if not self._connected:
            self._look_for_host()
        elif ready.get(self._master, 0) & (select.POLLIN | select.POLLHUP):
            self._receive()
        elif ready.get(self._master, 0) & select.POLLOUT:
            self._transmit()

    def _look_for_host(self) -> None:
        poller = select.poll()
        poller.register(self._master, select.POLLIN)
        if not any(flags & select.POLLHUP for _, flags in poller.poll(0)):
            self._connected = True
            self._poller.register(self._master, select.POLLIN)
            self._firmware.attach(self._send)

    def _receive(self) -> None:
        try:
            data = os.read(self._master, _CHUNK)
        except OSError:  # EIO: the host has closed its end
            self._hang_up()
            return
        self._firmware.feed(data)

    def _transmit(self) -> None:
        with self._lock:
            del self._unsent[: self._write(bytes(self._unsent[:_CHUNK]))]

    def _hang_up(self) -> None:
        with self._lock:
            connected, self._connected = self._connected, False
            self._unsent.clear()
        if connected:
            self._poller.unregister(self._master)
            self._firmware.hang_up()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
