"""A protected connection with the calls of a blocking socket."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from qkd_hal.errors import DeadlineError, TLSError, UsageError
from qkd_hal.sources import Deadline
from qkd_hal.tls._io import PeerEndedError, repeat
from qkd_hal.tls._openssl import SSL

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from qkd_hal.tls.protection import Protection

__all__ = ["QKDSocket"]

T = TypeVar("T")

_RECORD = 1 << 14  # bytes; one TLS record is at most this long (RFC 8446, section 5.1)


class QKDSocket:
    """What :meth:`QKDContext.wrap_socket` returns once the policy is met.

    One thread may send while another receives, and any may close: both wake with
    :class:`~qkd_hal.errors.TLSError`. ``protection`` says what protects the connection.
    """

    def __init__(
        self,
        connection: SSL.Connection,
        sock: socket.socket,
        protection: Protection,
        timeout: float | None,
    ) -> None:
        self.protection = protection
        self._connection = connection
        self._sock = sock
        self._timeout = timeout
        self._openssl = threading.Lock()  # OpenSSL's objects bear one thread at a time
        self._sender = threading.Lock()  # an interrupted record must be finished first
        self._callers = 0
        self._closed = False

    def recv(self, size: int = _RECORD) -> bytes:
        """Return 1 to *size* bytes, or ``b""`` once the peer has closed in order.

        Raises:
            DeadlineError: nothing came within the timeout.
            TLSError: the connection was cut, tampered with, or closed here.
        """
        if size == 0:
            return b""
        try:
            return self._call(lambda: self._connection.recv(size), self._deadline(), "receiving")
        except PeerEndedError:
            return b""

    def recv_into(self, buffer: bytearray | memoryview, size: int | None = None) -> int:
        """Fill *buffer* with up to *size* bytes; return how many, 0 at the orderly end.

        Raises what :meth:`recv` raises.
        """
        view = memoryview(buffer).cast("B")[: size or None]
        data = self.recv(len(view))
        view[: len(data)] = data
        return len(data)

    def send(self, data: bytes | bytearray | memoryview) -> int:
        """Send the first record's worth of *data*; return how many bytes that was.

        Raises what :meth:`sendall` raises.
        """
        part = memoryview(data).cast("B")[:_RECORD]
        self.sendall(part)
        return len(part)

    def sendall(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of *data*.

        Raises:
            DeadlineError: the peer did not read in time. Part of a record may be out, so
                the connection is cut.
            TLSError: the connection was cut or closed.
        """
        view, deadline = memoryview(data).cast("B"), self._deadline()
        with self._sender:
            while view:
                view = view[self._send_record(view[:_RECORD], deadline) :]

    def settimeout(self, seconds: float | None) -> None:
        """Limit every later call to *seconds*; ``None`` waits for ever."""
        if seconds is not None and not seconds > 0:
            raise UsageError(f"a timeout is a positive number of seconds, not {seconds!r}")
        self._timeout = seconds

    def gettimeout(self) -> float | None:
        """Return the limit in seconds."""
        return self._timeout

    def fileno(self) -> int:
        """Return the file descriptor, -1 once closed."""
        return self._sock.fileno()

    def getpeername(self) -> object:
        """Return the peer's address, as :meth:`socket.socket.getpeername`."""
        return self._sock.getpeername()

    def version(self) -> str:
        """Return ``TLSv1.3``."""
        return self.protection.version

    def cipher(self) -> str:
        """Return the cipher suite's name."""
        return self.protection.cipher

    @property
    def group(self) -> str:
        """The key-exchange group that was mixed with the quantum key."""
        return self.protection.group

    def unwrap(self) -> socket.socket:
        """End TLS in order, wait for the peer's end, and return the plain socket.

        Raises:
            DeadlineError: the peer did not end within the timeout.
            TLSError: the peer still sent data; the connection stays open.
        """
        with suppress(PeerEndedError):
            deadline = self._deadline()
            if not self._call(self._connection.shutdown, deadline, "closing"):
                self._call(lambda: self._connection.recv(1), deadline, "closing")
                raise TLSError("the peer still sends data", cure="Read on until recv() is empty")
        with self._openssl:
            self._closed = True
        plain = socket.socket(fileno=self._sock.detach())
        plain.settimeout(self._timeout)
        return plain

    def close(self) -> None:
        """Tell the peer that this is the orderly end, and close; safe to repeat."""
        self._close(orderly=True)

    def abort(self) -> None:
        """Close without the orderly end, so that the peer sees a cut; safe to repeat."""
        self._close(orderly=False)

    def __enter__(self) -> QKDSocket:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # After an exception the data is not whole; the peer must not believe that it is.
        self._close(orderly=fault is None)

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open"
        return f"<QKDSocket {state}, {self.protection.reason}>"

    def _deadline(self) -> Deadline:
        return Deadline(self._timeout)

    def _send_record(self, record: memoryview, deadline: Deadline) -> int:
        try:
            return self._call(lambda: self._connection.send(record), deadline, "sending")
        except DeadlineError:
            self.abort()
            raise

    def _call(self, call: Callable[[], T], deadline: Deadline, doing: str) -> T:
        self._enter()
        try:
            return repeat(lambda: self._locked(call), self._sock, deadline, doing)
        finally:
            self._leave()

    def _locked(self, call: Callable[[], T]) -> T:
        with self._openssl:
            self._require_open()
            return call()

    def _require_open(self) -> None:
        if self._closed:
            raise TLSError("this connection was closed, here or in another thread")

    def _enter(self) -> None:
        # Keeps the descriptor's number from being used anew while a thread waits on it.
        with self._openssl:
            self._require_open()
            self._callers += 1

    def _leave(self) -> None:
        with self._openssl:
            self._callers -= 1
            self._release()

    def _close(self, *, orderly: bool) -> None:
        with self._openssl:
            if self._closed:
                return
            self._closed = True
            if orderly:
                with suppress(SSL.Error):  # a broken connection has no orderly end
                    self._connection.shutdown()
            with suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)  # wakes every waiting thread
            self._release()

    def _release(self) -> None:
        if self._closed and not self._callers:
            self._sock.close()
