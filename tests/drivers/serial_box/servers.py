"""Serial servers that speak RFC 2217: pyserial's PortManager, and Debian's ser2net."""

from __future__ import annotations

import select
import socket
import subprocess
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import serial
from serial.rfc2217 import PortManager

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from _typeshed import HasFileno

__all__ = ["PortManagerServer", "free_port", "ser2net"]


class _PtyPort(serial.Serial):
    """A pseudo-terminal has no modem lines, and refuses to be asked for them."""

    cts = dsr = ri = cd = True
    dtr = rts = True
    break_condition = False


class _Client:
    """What PortManager sends its negotiation to."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def write(self, data: bytes) -> None:
        self._connection.sendall(data)


class PortManagerServer:
    """Serves the port at *path* on TCP ``port``, to one client after another, until closed."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.bauds: list[int] = []
        self._stop, self._stopper = socket.socketpair()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        """Hang up and listen no more."""
        self._stopper.close()
        self._thread.join()
        self._listener.close()
        self._stop.close()

    def _run(self) -> None:
        while self._stop not in select.select([self._listener, self._stop], [], [])[0]:
            connection, _ = self._listener.accept()
            with connection, _PtyPort(self._path, timeout=0) as port:
                self._serve(connection, port)

    def _serve(self, connection: socket.socket, port: serial.Serial) -> None:
        manager = PortManager(port, _Client(connection))  # type: ignore[arg-type]
        while True:
            places: list[HasFileno] = [connection, port, self._stop]
            ready = select.select(places, [], [])[0]
            if self._stop in ready:
                return
            if connection in ready:
                data = connection.recv(4096)
                if not data:
                    return
                port.write(b"".join(manager.filter(data)))
                self.bauds.append(port.baudrate)
            if port in ready:
                connection.sendall(b"".join(manager.escape(port.read(4096))))


def free_port() -> int:
    """Return a TCP port where nothing listens now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number: int = listener.getsockname()[1]
        return number


@contextmanager
def ser2net(path: str, directory: Path) -> Iterator[int]:
    """Run ser2net on the port at *path*; gives its TCP port."""
    number = free_port()
    configuration = directory / f"ser2net-{number}.yaml"
    configuration.write_text(
        "connection: &box\n"
        f"  accepter: telnet(rfc2217),tcp,127.0.0.1,{number}\n"
        f"  connector: serialdev,{path},115200n81,local\n"
    )
    process = subprocess.Popen(["ser2net", "-n", "-u", "-c", str(configuration)])
    try:
        _await_listener(number)
        yield number
    finally:
        process.terminate()
        process.wait(10)


def _await_listener(number: int) -> None:
    end = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", number), 1).close()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)
        else:
            return
