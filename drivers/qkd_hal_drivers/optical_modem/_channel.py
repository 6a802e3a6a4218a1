"""One CURVE connection to a modem: a request goes out, its reply comes back, or an error.

A ZeroMQ socket belongs to one thread at a time. The lock gives it to the hook that runs;
``close()`` sets a flag that this hook sees within a slice of its wait.
"""

from __future__ import annotations

import secrets
import threading
from typing import TYPE_CHECKING

import zmq
from zmq.utils.monitor import parse_monitor_message

from qkd_hal.errors import (
    DeviceClosedError,
    DeviceLostError,
    DeviceNotFoundError,
    DevicePermissionError,
    ProtocolError,
)
from qkd_hal_drivers.optical_modem._codec import Reply, decode_reply, encode_request, error_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qkd_hal.sources import Deadline
    from qkd_hal_drivers.optical_modem._credential import Credential

__all__ = ["ModemChannel"]

_SLICE_MS = 50  # how long close() may wait for a blocked hook
_MAX_MESSAGE = 1 << 20  # a reply to the largest reserve is below 64 KiB, key bytes too
_GAP = 1 << 32  # between request numbers, which an answer that runs ahead cannot guess
_MAX_UNSENT = 16  # requests that timed out before the modem took them; honest ones wait alone
_IDLE_SECONDS = 5  # before the first probe
_PROBES = 3  # one a second; unanswered, a modem that vanished without a word is given up
_REFUSED = (
    zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
)
_EVENTS = (
    _REFUSED | zmq.EVENT_DISCONNECTED | zmq.EVENT_CONNECT_RETRIED | zmq.EVENT_HANDSHAKE_SUCCEEDED
)


class ModemChannel:
    """Requests to one modem, from one connection until it is lost or closed."""

    def __init__(self, endpoint: str, credential: Credential, *, device: str) -> None:
        self._device = device
        self._number = 0
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._ready = False
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        _configure(self._socket, credential)
        self._monitor = self._socket.get_monitor_socket(_EVENTS)
        self._socket.connect(endpoint)

    def call(
        self,
        operation: str,
        arguments: Mapping[str, object],
        deadline: Deadline,
        out: memoryview | None = None,
    ) -> Reply:
        """Ask the modem, and put the key bytes of its answer into *out*.

        Raises:
            DeviceClosedError, DeviceLostError, DeviceNotFoundError, DevicePermissionError,
            DeadlineError, ProtocolError: what became of the connection.
            QKDError: whatever the modem reports.
        """
        with self._lock:
            self._require_open()
            self._number += 1 + secrets.randbelow(_GAP)
            self._send(encode_request(self._number, operation, arguments))
            while True:
                reply, parts = self._next_reply(deadline, operation)
                if reply.number == self._number:
                    return self._accept(reply, parts, out)
                if reply.number > self._number:
                    raise ProtocolError("the modem answers a later request", device=self._device)
                # An answer to a request that timed out before: its key bytes go unread.
                deadline.check(f"the modem handles {operation!r}", device=self._device)

    def close(self) -> None:
        """Wake a blocked call and release the sockets; from any thread, any number of times."""
        self._closed.set()
        with self._lock:
            if not self._context.closed:
                self._socket.disable_monitor()
                self._monitor.close(linger=0)
                self._socket.close(linger=0)
                self._context.term()

    def _send(self, request: bytes) -> None:
        try:
            self._socket.send(request, zmq.NOBLOCK)
        except zmq.Again:
            raise DeviceLostError(
                "the modem takes no more requests",
                device=self._device,
                cure="Check the modem, then call init() to reconnect",
            ) from None

    def _next_reply(self, deadline: Deadline, operation: str) -> tuple[Reply, list[zmq.Frame]]:
        while not self._socket.poll(self._slice(deadline)):
            self._require_open()
            self._check_events()
            deadline.check(f"the modem handles {operation!r}", device=self._device)
        self._require_open()
        first, *parts = self._socket.recv_multipart(copy=False)
        return decode_reply(first.bytes), parts

    def _accept(self, reply: Reply, parts: list[zmq.Frame], out: memoryview | None) -> Reply:
        error = error_of(reply, device=self._device)
        if error is not None:
            raise error
        sizes = [len(part) for part in parts]
        if sizes != ([] if out is None else [len(out)]):
            raise ProtocolError("the modem sent key bytes of another length", device=self._device)
        if out is not None:
            out[:] = parts[0].buffer
        return reply

    def _slice(self, deadline: Deadline) -> int:
        return max(1, int(1000 * (deadline.remaining(_SLICE_MS / 1000) or 0)))

    def _require_open(self) -> None:
        if self._closed.is_set():
            raise DeviceClosedError("the modem connection was closed", device=self._device)

    def _check_events(self) -> None:
        while self._monitor.poll(0):
            event = parse_monitor_message(self._monitor.recv_multipart())["event"]
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self._ready = True
            elif event & _REFUSED:
                raise DevicePermissionError(
                    "the modem refuses this credential",
                    device=self._device,
                    cure="Name the client.curve that this modem wrote into its --dir",
                )
            elif self._ready:
                raise DeviceLostError(
                    "the modem went away", device=self._device, cure="Call init() to reconnect"
                )
            elif event == zmq.EVENT_CONNECT_RETRIED:
                raise DeviceNotFoundError(
                    "no modem listens at this address",
                    device=self._device,
                    cure="Start it with: qkd-hal modem",
                )


def _configure(socket: zmq.Socket[bytes], credential: Credential) -> None:
    socket.curve_serverkey = credential.server_public
    socket.curve_publickey = credential.client_public
    socket.curve_secretkey = credential.client_secret
    socket.linger = 0
    socket.maxmsgsize = _MAX_MESSAGE
    socket.sndhwm = _MAX_UNSENT
    # Not by heartbeats of ZeroMQ: with them, a modem that fills the queue and then cuts the
    # connection aborts the application's process (libzmq issue 4364).
    socket.tcp_keepalive = 1
    socket.tcp_keepalive_idle = _IDLE_SECONDS
    socket.tcp_keepalive_intvl = 1
    socket.tcp_keepalive_cnt = _PROBES
