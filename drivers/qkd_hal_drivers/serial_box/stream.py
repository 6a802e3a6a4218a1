"""Boxlink frames over a line of bytes: ``docs/boxlink.md``, section 2.1."""

from __future__ import annotations

from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Final

from qkd_hal_drivers.boxlink.frame import StreamReceiver, for_stream

if TYPE_CHECKING:
    from qkd_hal.sources import Deadline
    from qkd_hal_drivers.serial_box.line import ByteLine

__all__ = ["StreamTransport"]

_MAX_CHUNK: Final = 4096  # key bytes of one CHUNK on a stream
_PAUSE: Final = 0.5  # seconds without a byte, after which an unfinished frame is given up


class StreamTransport:
    """A `FrameTransport` over *line*. Holds no more than what one read completes."""

    def __init__(self, line: ByteLine) -> None:
        self._line = line
        self._receiver = StreamReceiver(2 * _MAX_CHUNK)
        self._frames: deque[bytes] = deque()
        self._last = 0.0
        self.heard = 0

    @property
    def max_chunk(self) -> int:
        """Key bytes of one CHUNK."""
        return _MAX_CHUNK

    def open(self, deadline: Deadline) -> None:
        """Open the line."""
        self._line.open(deadline)

    def reset(self, deadline: Deadline) -> None:
        """Forget what came in before, and end what the box may have half-read."""
        self._receiver.clear()
        self._frames.clear()
        self._line.write(b"\0", deadline)

    def send(self, frame: bytes, deadline: Deadline) -> None:
        """Send one frame."""
        self._line.write(for_stream(frame), deadline)

    def receive(self, deadline: Deadline) -> bytes | None:
        """Return the next frame, ``None`` once the deadline has passed."""
        while not self._frames:
            data = self._line.read(deadline)
            if not data:
                return None
            self._take(data)
            if not self._frames and deadline.expired:
                return None  # noise without a pause
        return self._frames.popleft()

    def close(self) -> None:
        """Release the line and wake a blocked call."""
        self._line.close()

    def why_silent(self) -> str:
        """Tell an idle line from one that brings noise."""
        if not self.heard:
            return "Check that the box is on, and that this is the port it is plugged into"
        return f"{self.heard} bytes came and no answer among them: check {self._line.what_to_check}"

    def _take(self, data: bytes) -> None:
        self.heard += len(data)
        if self._receiver.unfinished:
            now = monotonic()
            if now - self._last > _PAUSE:
                self._receiver.clear()
        self._frames.extend(self._receiver.feed(data))
        if self._receiver.unfinished:
            self._last = monotonic()
