"""A yardstick: certificate handshakes next to quantum ones, over the same wire and engine.

Both ends take the handshakes in turn, so that load on the machine falls on all alike. A
handshake is timed from the first byte of the client's hello until the server's first byte
of application data is read; by then the TCP connection stands and the server is waiting.
"""

from __future__ import annotations

import socket
import statistics
import time
from typing import TYPE_CHECKING, Protocol

from qkd_hal.tls._certificate import CertificateContext, certificate_client, certificate_server

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

__all__ = [
    "CertificateContext",
    "answer_handshakes",
    "certificate_client",
    "certificate_server",
    "time_handshakes",
]

_READY = b"\x06"
_TIMEOUT = 10.0  # seconds, for each handshake


class _Connection(Protocol):
    """The part of a connection that the yardstick needs; a QKDSocket has it."""

    def recv(self, size: int, /) -> bytes: ...
    def sendall(self, data: bytes, /) -> None: ...
    def __enter__(self) -> _Connection: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class _Context(Protocol):
    """What is compared: a QKDContext or a CertificateContext."""

    def wrap_socket(self, sock: socket.socket, server_side: bool = False) -> _Connection: ...


def answer_handshakes(
    listener: socket.socket, contexts: Sequence[_Context], rounds: int, timeout: float = _TIMEOUT
) -> None:
    """Be the server of :func:`time_handshakes`, with the same contexts in the same order.

    Raises:
        TimeoutError: no client came for *timeout* seconds.
    """
    listener.settimeout(timeout)
    for _ in range(rounds):
        for context in contexts:
            sock, _address = listener.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.sendall(_READY)  # in clear: the clock must not see us end the one before
            with context.wrap_socket(sock, server_side=True) as connection:
                connection.sendall(_READY)
                connection.recv(1)


def time_handshakes(
    address: tuple[str, int], contexts: Mapping[str, _Context], rounds: int
) -> dict[str, float]:
    """Return the median milliseconds of a handshake for each of *contexts*."""
    taken: dict[str, list[float]] = {name: [] for name in contexts}
    for _ in range(rounds):
        for name, context in contexts.items():
            taken[name].append(_time_one(address, context))
    return {name: statistics.median(seconds) * 1000 for name, seconds in taken.items()}


def _time_one(address: tuple[str, int], context: _Context) -> float:
    sock = socket.create_connection(address, _TIMEOUT)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.recv(1)
    begin = time.perf_counter()
    with context.wrap_socket(sock) as connection:
        connection.recv(1)
        seconds = time.perf_counter() - begin
        connection.sendall(_READY)
    return seconds
