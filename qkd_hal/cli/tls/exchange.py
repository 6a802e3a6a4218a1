"""Application data for a protected connection: an echo, and the check of what came back."""

from __future__ import annotations

import hashlib
import hmac
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from qkd_hal.errors import TLSError

if TYPE_CHECKING:
    from qkd_hal.tls import QKDSocket

__all__ = ["Moved", "drop", "echo", "move"]

_CHUNK = 1 << 16  # bytes in flight: less than the kernel holds, so that no end blocks


@dataclass(frozen=True, slots=True)
class Moved:
    """How many bytes went each way, and the SHA-256 that both ways had."""

    sent: int
    received: int
    sha256: str

    def to_json(self) -> dict[str, int | str]:
        """Return plain types for ``json.dumps``."""
        return asdict(self)


def echo(connection: QKDSocket) -> None:
    """Send everything back until the peer ends."""
    while data := connection.recv():
        connection.sendall(data)


def drop(connection: QKDSocket) -> None:
    """Read until the peer ends."""
    while connection.recv():
        pass


def move(connection: QKDSocket, size: int) -> Moved:
    """Send *size* random bytes to an echo and check what comes back.

    Raises:
        TLSError: other bytes came back, or fewer.
    """
    out, back = hashlib.sha256(), hashlib.sha256()
    sent = received = 0
    while sent < size:
        chunk = os.urandom(min(_CHUNK, size - sent))
        connection.sendall(chunk)
        out.update(chunk)
        sent += len(chunk)
        received += _receive(connection, len(chunk), back)
    if not hmac.compare_digest(out.digest(), back.digest()):
        raise TLSError("other data came back than was sent")
    return Moved(sent, received, back.hexdigest())


def _receive(connection: QKDSocket, size: int, digest: hashlib._Hash) -> int:
    received = 0
    while received < size:
        data = connection.recv(size - received)
        if not data:
            raise TLSError("the peer ended in the middle of the data")
        digest.update(data)
        received += len(data)
    return received
