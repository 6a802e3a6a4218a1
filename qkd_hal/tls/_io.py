"""Waiting for a socket under a deadline, and OpenSSL's failures in our words."""

from __future__ import annotations

import select
from typing import TYPE_CHECKING, TypeVar

from qkd_hal.errors import TLSError
from qkd_hal.tls._openssl import SSL

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from qkd_hal.sources import Deadline

__all__ = ["PeerEndedError", "repeat"]

T = TypeVar("T")

_LONGEST_WAIT = 3600.0  # seconds at once: poll() counts milliseconds in a C int


class PeerEndedError(TLSError):
    """The peer's close_notify: the orderly end for a reader, a failure for all others."""


def repeat(call: Callable[[], T], sock: socket.socket, deadline: Deadline, doing: str) -> T:
    """Repeat an OpenSSL *call* on a non-blocking socket until it is done.

    Raises:
        DeadlineError: the time is up, however many bytes dripped in meanwhile.
        TLSError: the peer refused, broke the protocol or cut the connection.
    """
    while True:
        try:
            return call()
        except SSL.WantReadError:
            event = select.POLLIN
        except SSL.WantWriteError:
            event = select.POLLOUT
        except SSL.ZeroReturnError:
            raise PeerEndedError(f"the peer ended the connection while {doing}") from None
        except SSL.Error as fault:
            raise _tls_error(fault, doing) from None
        _wait(sock, event, deadline, doing)


def _tls_error(fault: SSL.Error, doing: str) -> TLSError:
    """Name what OpenSSL reports; it never quotes what was in the bytes."""
    if isinstance(fault, SSL.SysCallError):
        return TLSError(
            f"the connection was cut while {doing}: {fault.args[-1]}",
            cure="What was read before may be incomplete: do not trust it",
        )
    queue = fault.args[0] if fault.args else []
    reasons = ", ".join(entry[-1] for entry in queue) or "no reason given"
    return TLSError(f"TLS failed while {doing}: {reasons}")


def _wait(sock: socket.socket, event: int, deadline: Deadline, doing: str) -> None:
    deadline.check(doing)
    poll = select.poll()
    poll.register(sock, event)
    poll.poll((deadline.remaining(_LONGEST_WAIT) or 0) * 1000)
