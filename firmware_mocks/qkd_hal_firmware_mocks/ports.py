"""Where a host plugs in: a line under a name that stays, over unplugging and back."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Protocol

from qkd_hal_firmware_mocks.pty_line import PtyLine
from qkd_hal_firmware_mocks.tcp_line import TcpLine

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from qkd_hal_firmware_mocks.stream import ByteStream

__all__ = ["Port", "pty_port", "tcp_port"]


class _Line(Protocol):
    def close(self) -> None: ...


class Port:
    """A plug at *url*. *make* brings the line up, *remove* takes its name away."""

    def __init__(
        self, url: str, make: Callable[[], _Line], remove: Callable[[], None] = lambda: None
    ) -> None:
        self.url = url
        self._make = make
        self._remove = remove
        self._lock = threading.Lock()
        self._line: _Line | None = make()

    def plug(self) -> None:
        """Bring it back; harmless if it is there."""
        with self._lock:
            if self._line is None:
                self._line = self._make()

    def unplug(self) -> None:
        """Take it away; harmless if it is away."""
        with self._lock:
            line, self._line = self._line, None
            if line is not None:
                self._remove()
                line.close()


def pty_port(firmware: ByteStream, link: Path) -> Port:
    """Serve *firmware* on pseudo-terminals to which *link* points."""

    def make() -> PtyLine:
        line = PtyLine(firmware)
        draft = link.with_name(f".{link.name}.{os.getpid()}")
        draft.symlink_to(line.path)
        draft.replace(link)
        return line

    return Port(f"serial://{link}", make, lambda: link.unlink(missing_ok=True))


def tcp_port(firmware: ByteStream, host: str, port: int) -> Port:
    """Serve *firmware* on a TCP port, 0 for any that is free."""
    first = TcpLine(firmware, host, port)
    number = first.port
    lines = iter([first])
    return Port(
        f"serial+socket://{host}:{number}",
        lambda: next(lines, None) or TcpLine(firmware, host, number),
    )
