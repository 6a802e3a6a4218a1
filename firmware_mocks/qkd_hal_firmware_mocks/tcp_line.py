"""A firmware behind a TCP port, as behind a serial server that speaks no RFC 2217."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qkd_hal_firmware_mocks.stream import ByteStream

__all__ = ["TcpLine"]

_CHUNK = 1 << 16
_SEND_TIMEOUT = struct.pack("ll", 1, 0)  # a host that does not read for a second is hung up


class TcpLine:
    """Serves *firmware* to one host at a time, in a thread, until closed; another waits."""

    def __init__(self, firmware: ByteStream, host: str, port: int) -> None:
        self._firmware = firmware
        self._listener = socket.create_server((host, port), backlog=1)
        self.port: int = self._listener.getsockname()[1]
        self._line: socket.socket | None = None
        self._lock = threading.Lock()  # a message is sent whole
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="tcp", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Hang up, and listen no more; idempotent."""
        self._closed = True
        for line in (self._listener, self._line):
            if line is not None:
                _shut(line)
        self._thread.join()
        self._listener.close()

    def _run(self) -> None:
        while not self._closed:
            try:
                line, _ = self._listener.accept()
            except OSError:
                return
            with line:
                self._line = line
                self._serve(line)

    def _serve(self, line: socket.socket) -> None:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        line.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _SEND_TIMEOUT)
        self._firmware.attach(lambda data: self._send(line, data))
        while not self._closed and (data := _read(line)):
            self._firmware.feed(data)
        self._firmware.hang_up()

    def _send(self, line: socket.socket, data: bytes) -> None:
        with self._lock:
            try:
                line.sendall(data)
            except OSError:
                _shut(line)


def _read(line: socket.socket) -> bytes:
    try:
        return line.recv(_CHUNK)
    except OSError:
        return b""


def _shut(line: socket.socket) -> None:
    with contextlib.suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)
