"""What a firmware behind a serial line is to its transport: bytes in, bytes out.

The same object serves a PTY, a TCP connection and a USB serial port (`usb.cdc_acm`). A
transport calls one method at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ByteStream"]


class ByteStream(Protocol):
    """A firmware that talks over a line of bytes, without boundaries between messages."""

    def attach(self, send: Callable[[bytes], None]) -> None:
        """Take the function that sends bytes to the host. It may be called from any thread,
        also from within `feed`, and never blocks. Called again for every new connection."""
        ...

    def feed(self, data: bytes) -> None:
        """Take bytes from the host: any number of them, cut anywhere."""
        ...

    def hang_up(self) -> None:
        """The host closed the port, sent a break, or is gone: drop half-read input and the
        connection's state, keep what is durable."""
        ...
