"""A server with a thread for each protected connection."""

from __future__ import annotations

import logging
import select
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from qkd_hal.errors import QKDError
from qkd_hal.tls.context import QKDContext
from qkd_hal.tls.policy import REQUIRE_QUANTUM, Policy

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from types import TracebackType

    from qkd_hal.sources import KeySource
    from qkd_hal.tls.connection import QKDSocket

__all__ = ["Server", "serve"]

logger = logging.getLogger("qkd_hal.tls")

_RETRY_ACCEPT = 0.1  # seconds; out of descriptors, others must close first


def serve(
    address: tuple[str, int],
    source: KeySource,
    handler: Callable[[QKDSocket], None],
    *,
    peers: Collection[str] | None = None,
    policy: Policy = REQUIRE_QUANTUM,
) -> Server:
    """Listen on *address* (port 0 for any) and serve in the background until closed."""
    context = QKDContext(source, peers=peers, policy=policy)
    server = Server(context, socket.create_server(address), handler)
    server.start()
    return server


class Server:
    """Accepts connections and runs *handler* on each, in a thread of its own.

    At most *limit* at a time: a peer that dawdles holds a thread until the handshake's
    deadline. A peer that is refused is logged, and nobody else notices. When *handler*
    returns, the connection ends in order; when it raises, the peer sees a cut.
    """

    def __init__(
        self,
        context: QKDContext,
        listener: socket.socket,
        handler: Callable[[QKDSocket], None],
        *,
        limit: int = 64,
    ) -> None:
        self._context = context
        self._listener = listener
        self._handler = handler
        self._free = threading.Semaphore(limit)
        self._ear, self._bell = socket.socketpair()  # wakes the accepting thread
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._live: dict[threading.Thread, socket.socket] = {}
        self._loop: threading.Thread | None = None
        self.address: tuple[str, int] = listener.getsockname()[:2]

    def start(self) -> None:
        """Run :meth:`serve_forever` in the background."""
        self._loop = threading.Thread(target=self.serve_forever, name="qkd-hal-tls", daemon=True)
        self._loop.start()

    def serve_forever(self) -> None:
        """Accept until :meth:`close` is called."""
        poll = select.poll()
        poll.register(self._listener, select.POLLIN)
        poll.register(self._ear, select.POLLIN)
        while True:
            self._free.acquire()
            poll.poll()
            if self._stopped.is_set():
                return
            self._accept()

    def close(self) -> None:
        """Stop accepting, cut what is still open, and wait for the handlers; repeatable."""
        if self._stopped.is_set():
            return
        self._stopped.set()
        self._bell.close()
        for thread in self._cut_all():
            if thread.ident is not None:  # a signal may end serve_forever() before it starts
                thread.join()
        if self._loop is not None:
            self._loop.join()
        self._listener.close()
        self._ear.close()

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _accept(self) -> None:
        try:
            sock, address = self._listener.accept()
        except OSError as fault:
            logger.warning("cannot accept a connection: %s", fault)
            self._stopped.wait(_RETRY_ACCEPT)
            self._free.release()
            return
        thread = threading.Thread(target=self._run, args=(sock, address), daemon=True)
        with self._lock:
            if self._stopped.is_set():
                sock.close()
                return
            self._live[thread] = sock
            thread.start()

    def _run(self, sock: socket.socket, address: object) -> None:
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as in client.py
            with self._context.wrap_socket(sock, server_side=True) as connection:
                self._handler(connection)
        except QKDError as fault:
            logger.warning("connection from %s: [%s] %s", address, fault.code, fault)
        except Exception:
            logger.exception("the handler failed on a connection from %s", address)
        finally:
            with self._lock:
                del self._live[threading.current_thread()]
            self._free.release()

    def _cut_all(self) -> list[threading.Thread]:
        with self._lock:
            for sock in self._live.values():
                with suppress(OSError):  # ended by itself
                    sock.shutdown(socket.SHUT_RDWR)
            return list(self._live)
