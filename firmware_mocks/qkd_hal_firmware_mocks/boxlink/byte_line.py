"""Frames on a line of bytes: ``00 COBS(frame) 00`` (``docs/boxlink.md``, section 2.1)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from cobs import cobs

from qkd_hal_firmware_mocks.boxlink.server import BoxServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qkd_hal_firmware_mocks.boxlink.box import BoxFirmware
    from qkd_hal_firmware_mocks.faults import FaultPlan

__all__ = ["BoxLine", "PieceReader", "to_line"]

_PAUSE_SECONDS = 0.5  # a piece is dropped after as long without a byte


def to_line(frame: bytes) -> bytes:
    """Return *frame* as it stands on the line."""
    return b"".join((b"\0", cobs.encode(frame), b"\0"))


class PieceReader:
    """Cuts a line into frames; keeps no more than one piece of the longest frame."""

    def __init__(self, max_frame: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._longest = max_frame
        self._limit = max_frame + max_frame // 254 + 1  # COBS adds a byte for each 254, and one
        self._clock = clock
        self._piece = bytearray()
        self._skipping = False
        self._last = 0.0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Give the frames that *data* completes."""
        now = self._clock()
        if self._piece and now - self._last > _PAUSE_SECONDS:
            self.clear()
        self._last = now
        *finished, rest = data.split(b"\0")
        for part in finished:
            self._add(part)
            piece, skipping = bytes(self._piece), self._skipping
            self.clear()
            frame = None if skipping else _uncobs(piece)
            if frame and len(frame) <= self._longest:
                yield frame
        self._add(rest)

    def clear(self) -> None:
        """Drop an unfinished piece."""
        self._piece.clear()
        self._skipping = False

    def _add(self, part: bytes) -> None:
        if self._skipping or len(self._piece) + len(part) > self._limit:
            self._piece.clear()
            self._skipping = True
        else:
            self._piece += part


class BoxLine:
    """A box behind a serial line or a TCP connection: a `stream.ByteStream`.

    ``server`` has the box, and the faults of *plan*.
    """

    def __init__(self, box: BoxFirmware, plan: FaultPlan | None = None) -> None:
        self.server = BoxServer(box, to_line, plan, divisible=True)
        self._reader = PieceReader(box.settings.max_frame, box.clock)

    def attach(self, send: Callable[[bytes], None]) -> None:
        """Take the function that sends bytes to the host."""
        self.server.attach(send)

    def feed(self, data: bytes) -> None:
        """Take bytes from the host."""
        for frame in self._reader.feed(data):
            self.server.serve(frame)

    def hang_up(self) -> None:
        """Drop half-read input. The session stays: it belongs to the proof, not to the line."""
        self._reader.clear()


def _uncobs(piece: bytes) -> bytes | None:
    try:
        frame: bytes = cobs.decode(piece)
    except cobs.DecodeError:
        return None
    return frame
