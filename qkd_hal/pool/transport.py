"""TCP between two pools: frames with a four-byte length, one end listens, one connects.

Nothing here is believed: a frame's length is bounded before memory is given, strangers get
few connections and little time, and what a frame says is for :mod:`qkd_hal.link` to judge.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import time
from threading import BoundedSemaphore, Event, Lock, Thread
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from qkd_hal.errors import ConfigurationError, LinkError, QKDError
from qkd_hal.link.channel import MAX_FRAME
from qkd_hal.sources import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Dialer", "FrameSocket", "Listener", "Transport", "parse_endpoint"]

_log = logging.getLogger("qkd_hal.pool")

CONNECTIONS = 16  # at once, per listener; a link needs one, a stranger's flood gets no more
RETRY_ACCEPT = 0.1  # seconds; out of descriptors, others must close first
BACKOFF = (0.1, 0.2, 0.5, 1.0, 2.0)  # seconds between attempts to connect; the last one repeats


class Transport(Protocol):
    """Makes connections until closed."""

    @property
    def address(self) -> str:
        """Where it listens or connects, as ``tcp://host:port``."""
        ...

    def start(self) -> None:
        """Begin."""
        ...

    def close(self) -> None:
        """End all connections and threads; idempotent."""
        ...


def parse_endpoint(endpoint: str) -> tuple[str, int]:
    """Read ``tcp://host:port``.

    Raises:
        ConfigurationError: *endpoint* is anything else.
    """
    try:
        url = urlsplit(endpoint)
        host, port = url.hostname, url.port
    except ValueError:
        host = port = None
    if host is None or port is None or endpoint != f"tcp://{url.netloc}" or "@" in url.netloc:
        raise ConfigurationError(
            f"{endpoint!r} is not a link address", cure="Write it as tcp://host:port"
        )
    return host, port


class FrameSocket:
    """Whole frames over a connected stream socket. One thread may send while one receives."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._sending = Lock()
        self._until = Deadline(None)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def settimeout(self, seconds: float, *, in_all: bool = False) -> None:
        """Give up receiving after so much silence; *in_all*, also when bytes drip in for longer."""
        self._socket.settimeout(seconds)
        self._until = Deadline(seconds if in_all else None)

    def send(self, frame: bytes) -> None:
        """Send one frame.

        Raises:
            LinkError: the connection is gone.
        """
        try:
            with self._sending:
                self._socket.sendall(len(frame).to_bytes(4, "big") + frame)
        except OSError as error:
            raise LinkError(f"the link broke while sending: {error.strerror or error}") from None

    def receive(self) -> bytes:
        """Return the next frame.

        Raises:
            LinkError: the connection is gone or silent, or the frame is too long.
        """
        size = int.from_bytes(self._read(4), "big")
        if not 1 <= size <= MAX_FRAME:
            raise LinkError(f"a frame of {size} bytes on the link; the limit is {MAX_FRAME}")
        return self._read(size)

    def _read(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            try:
                self._until.check("the peer proves itself")
                piece = self._socket.recv(size - len(data))
            except OSError as error:
                raise LinkError(f"the link broke: {error.strerror or error}") from None
            if not piece:
                raise LinkError("the peer closed the link")
            data += piece
        return bytes(data)

    def close(self) -> None:
        """Close, and wake a thread that is inside :meth:`receive` or :meth:`send`."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


class Listener:
    """Accepts connections and runs *serve* on each, in a thread of its own, until it returns."""

    def __init__(self, endpoint: str, serve: Callable[[FrameSocket], None]) -> None:
        host, port = parse_endpoint(endpoint)
        self._serve = serve
        self._slots = BoundedSemaphore(CONNECTIONS)
        self._open: set[FrameSocket] = set()
        self._lock = Lock()
        self._closed = False
        self._threads: list[Thread] = []
        try:
            self._socket = socket.create_server((host, port))
        except OSError as error:
            raise LinkError(
                f"cannot listen at {endpoint}: {error.strerror}",
                cure="Is another process there? Choose another link address",
            ) from None
        self._acceptor = Thread(target=self._accept_all, name="qkd-link-listen", daemon=True)

    @property
    def address(self) -> str:
        """Where it listens, with the real port."""
        host, port = self._socket.getsockname()[:2]
        return f"tcp://{host}:{port}"

    def start(self) -> None:
        """Begin to accept."""
        self._acceptor.start()

    def _accept_all(self) -> None:
        while True:
            try:
                sock, _ = self._socket.accept()
            except OSError as error:
                if self._closed:
                    return
                _log.warning("cannot accept a connection at %s: %s", self.address, error)
                time.sleep(RETRY_ACCEPT)
                continue
            self._admit(sock)

    def _admit(self, sock: socket.socket) -> None:
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        if not self._slots.acquire(blocking=False):
            sock.close()
            return
        frames = FrameSocket(sock)
        with self._lock:
            if self._closed:
                frames.close()
                return
            self._open.add(frames)
        thread = Thread(target=self._run, args=(frames,), name="qkd-link", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _run(self, frames: FrameSocket) -> None:
        try:
            _serve_until_broken(self._serve, frames)
        finally:
            with self._lock:
                self._open.discard(frames)
            self._slots.release()

    def close(self) -> None:
        """Stop accepting, end every connection and wait for the threads."""
        with self._lock:
            self._closed = True
            connections = list(self._open)
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes accept()
        self._socket.close()
        for frames in connections:
            frames.close()
        for thread in (self._acceptor, *self._threads):
            if thread.ident is not None:
                thread.join()


class Dialer:
    """Connects, runs *serve*, and connects again after a pause, until closed."""

    def __init__(self, endpoint: str, serve: Callable[[FrameSocket], None]) -> None:
        self._target = parse_endpoint(endpoint)
        self.address = endpoint
        self._serve = serve
        self._closed = Event()
        self._lock = Lock()
        self._current: FrameSocket | None = None
        self._thread = Thread(target=self._dial_all, name="qkd-link-dial", daemon=True)

    def start(self) -> None:
        """Begin to connect."""
        self._thread.start()

    def _dial_all(self) -> None:
        failures = 0
        while not self._closed.is_set():
            failures = 0 if self._dial() else failures + 1
            self._closed.wait(BACKOFF[min(failures, len(BACKOFF) - 1)])

    def _dial(self) -> bool:
        """Run one connection to its end; tell whether it lasted."""
        try:
            sock = socket.create_connection(self._target, timeout=2.0)
        except OSError:
            return False
        frames = FrameSocket(sock)
        with self._lock:
            self._current = frames
            if self._closed.is_set():
                frames.close()
                return False
        begun = time.monotonic()
        _serve_until_broken(self._serve, frames)
        return time.monotonic() - begun > BACKOFF[-1]

    def close(self) -> None:
        """End the connection and wait for the thread."""
        with self._lock:
            self._closed.set()
            if self._current is not None:
                self._current.close()
        if self._thread.ident is not None:
            self._thread.join()


def _serve_until_broken(serve: Callable[[FrameSocket], None], frames: FrameSocket) -> None:
    try:
        serve(frames)
    except QKDError as error:
        _log.info("link connection ended: %s", error)
    finally:
        frames.close()
