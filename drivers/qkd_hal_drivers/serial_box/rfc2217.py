"""A port of a serial server that speaks RFC 2217 (Telnet with port settings)."""

from __future__ import annotations

import queue
import socket
import threading
import warnings
from typing import TYPE_CHECKING, Final

import serial.rfc2217

from qkd_hal.errors import DeviceNotFoundError
from qkd_hal_drivers.serial_box.line import FAULTS, SLICE, ByteLine

if TYPE_CHECKING:
    from qkd_hal.sources import Deadline

__all__ = ["Rfc2217Line"]


_MOST_UNREAD: Final = 1 << 18  # bytes: twice the answers that a box may have on their way


class _Unread(queue.Queue[bytes | None]):
    """What came in and was not read, byte by byte. Like a UART's it loses what it has no room
    for: a server that pours while nobody reads must not fill the memory."""

    def put(self, item: bytes | None, block: bool = True, timeout: float | None = None) -> None:
        if item is None or self.qsize() < _MOST_UNREAD:
            super().put(item, block, timeout)


class _Port(serial.rfc2217.Serial):
    """pyserial's client, with a read that can be woken and a close that leaks nothing."""

    _read_buffer: queue.Queue[bytes | None]
    _socket: socket.socket | None

    def __init__(self, host: str, port: int, baud: int) -> None:
        super().__init__(None, baud)
        self._socket = self._thread = None
        self._read_buffer = queue.Queue()
        # Many servers never acknowledge modem lines; we use none, and do not wait for that.
        self.port = f"rfc2217://{host}:{port}?ign_set_control"

    def open(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # it calls setDaemon()
            super().open()
        self._read_buffer = _Unread()

    def take(self, seconds: float) -> bytes:
        """Return what has come in, or nothing after *seconds*."""
        self._timeout = seconds  # the public setter negotiates all settings anew
        first = self.read(1)
        return first + self.read(self.in_waiting) if first else first

    def wake(self) -> None:
        """End a read that waits."""
        self._read_buffer.put(None)

    def close(self) -> None:
        connection = self._socket
        super().close()
        if connection is not None:
            connection.close()  # pyserial leaves it open when the server hung up first


class Rfc2217Line(ByteLine):
    """The port that *host* serves on TCP port *port*, at *baud*."""

    def __init__(self, host: str, port: int, baud: int) -> None:
        super().__init__()
        self._host = host
        self._number = port
        self._baud = baud
        self._port = _Port(f"[{host}]" if ":" in host else host, port, baud)
        self._ready = threading.Event()
        self._fault: Exception | None = None
        self._handover = threading.Lock()
        self._negotiated = False
        self._abandoned = False

    @property
    def what_to_check(self) -> str:
        """A wrong baud rate turns everything into noise."""
        return f"the baud rate, which is {self._baud} here (?baud=)"

    def _connect(self, deadline: Deadline) -> None:
        # In a thread of its own: pyserial negotiates with time-outs that add up to many seconds.
        opening = threading.Thread(target=self._negotiate, name="rfc2217 open", daemon=True)
        opening.start()
        while not self._ready.wait(deadline.remaining(SLICE)):
            deadline.check("negotiating with the serial server")
        if self._fault is not None:
            raise DeviceNotFoundError(
                f"no serial server can be used at {self._host}, port {self._number}: {self._fault}",
                cure="Check the address, and that it serves RFC 2217; else try serial+socket://",
            )

    def _negotiate(self) -> None:
        try:
            self._port.open()
        except FAULTS as error:
            self._fault = error
        with self._handover:
            self._negotiated = True
        self._ready.set()
        if self._abandoned:
            self._port.close()

    def _receive(self, deadline: Deadline) -> bytes:
        data = b""
        while not data and not self._closed:
            data = self._port.take(deadline.remaining(SLICE) or 0)
            if deadline.expired:
                break
        return data

    def _transmit(self, data: bytes, deadline: Deadline) -> None:
        # The socket takes megabytes before it blocks; a box that takes none of them has
        # stopped answering long before.
        self._port.write(data)

    def _wake(self) -> None:
        self._ready.set()
        self._port.wake()

    def _release(self) -> None:
        with self._handover:
            self._abandoned = not self._negotiated  # the thread that negotiates then closes it
        if not self._abandoned:
            self._port.close()
