"""ZeroMQ sockets of the link: both channels are the adversary's, so every buffer is bounded."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import zmq

from qkd_hal.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Waker", "attach", "bound_address", "link_socket", "watch_peer"]

_IDLE_SECONDS = 5  # before the first probe
_PROBES = 3  # one a second; unanswered, a peer that vanished without a word is given up
_RECONNECT_MS = 100
_RECONNECT_MAX_MS = 500


def link_socket(
    context: zmq.Context[zmq.Socket[bytes]], kind: int, *, max_message: int, queue: int
) -> zmq.Socket[bytes]:
    """Return a socket that holds at most *queue* messages of *max_message* bytes each way."""
    made = context.socket(kind)
    made.linger = 0
    made.maxmsgsize = max_message
    made.sndhwm = made.rcvhwm = queue
    made.immediate = True  # nothing queues for a peer that is not there
    watch_peer(made)
    made.reconnect_ivl = _RECONNECT_MS
    made.reconnect_ivl_max = _RECONNECT_MAX_MS
    return made


def watch_peer(made: zmq.Socket[bytes]) -> None:
    """Notice a peer that vanished without a word.

    By TCP, because with heartbeats of ZeroMQ a peer that fills the queue and then cuts the
    connection aborts this process (libzmq issue 4364).
    """
    made.tcp_keepalive = 1
    made.tcp_keepalive_idle = _IDLE_SECONDS
    made.tcp_keepalive_intvl = 1
    made.tcp_keepalive_cnt = _PROBES


def attach(made: zmq.Socket[bytes], address: str, *, bind: bool) -> str:
    """Bind or connect to ``HOST:PORT``; return the address, with the port that was chosen.

    Raises:
        ConfigurationError: the address cannot be used.
    """
    operation: Callable[[str], object] = made.bind if bind else made.connect
    try:
        operation(f"tcp://{address}")
    except zmq.ZMQError as error:
        raise ConfigurationError(
            f"cannot {'bind' if bind else 'connect'} to {address}: {error.strerror}",
            cure="Name a free HOST:PORT of this machine, or port 0",
        ) from None
    return bound_address(made)


def bound_address(made: zmq.Socket[bytes]) -> str:
    """Return the ``HOST:PORT`` where *made* listens or connects to."""
    raw = made.getsockopt(zmq.LAST_ENDPOINT)
    endpoint = raw.rstrip(b"\0").decode() if isinstance(raw, bytes) else ""
    return endpoint.removeprefix("tcp://")


class Waker:
    """Wakes a thread that polls: ``set()`` from any thread, ``clear()`` from that one."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)

    def fileno(self) -> int:
        """Return what to poll for input."""
        return self._reader.fileno()

    def set(self) -> None:
        """Wake the poller; a full pipe has woken it already."""
        try:
            self._writer.send(b"\0")
        except BlockingIOError:
            return

    def clear(self) -> None:
        """Forget all wake-ups so far."""
        try:
            self._reader.recv(4096)
        except BlockingIOError:
            return

    def close(self) -> None:
        """Release both ends."""
        self._reader.close()
        self._writer.close()
