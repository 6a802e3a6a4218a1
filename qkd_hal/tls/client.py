"""A protected client connection in one call."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from qkd_hal.errors import DeadlineError, TLSError
from qkd_hal.tls.context import QKDContext
from qkd_hal.tls.policy import REQUIRE_QUANTUM, Policy

if TYPE_CHECKING:
    from qkd_hal.sources import KeySource
    from qkd_hal.tls.connection import QKDSocket

__all__ = ["connect"]


def connect(
    address: tuple[str, int],
    source: KeySource,
    *,
    peer: str,
    policy: Policy = REQUIRE_QUANTUM,
    timeout: float | None = None,
) -> QKDSocket:
    """Connect to *peer*'s server at *address* with a fresh quantum key.

    *timeout*: seconds for the connection and each later call, ``None`` without end; the
    handshake keeps the policy's own limit.

    Raises:
        TLSError: nobody listens there; no key was used up.
        DeadlineError: the connection took too long.

    and whatever :meth:`QKDContext.wrap_socket` raises.
    """
    context = QKDContext(source, peer=peer, policy=policy)
    return context.wrap_socket(_dial(address, timeout))


def _dial(address: tuple[str, int], timeout: float | None) -> socket.socket:
    where = f"{address[0]}:{address[1]}"
    try:
        sock = socket.create_connection(address, timeout)
    except TimeoutError as fault:
        raise DeadlineError(f"no answer in time from {where}") from fault
    except OSError as fault:
        raise TLSError(f"cannot connect to {where}: {fault}", cure="Start its server") from fault
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # records are whole: never wait
    return sock
