"""A line that tells of its frames, for recordings: their headers and lengths, never a body."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qkd_hal.errors import ProtocolError
from qkd_hal_drivers.boxlink.frame import FrameType, decode_frame

if TYPE_CHECKING:
    from qkd_hal.recording import WireTap
    from qkd_hal.sources import Deadline
    from qkd_hal_drivers.boxlink.transport import FrameTransport

__all__ = ["TappedTransport"]


class TappedTransport:
    """*line*, a :class:`~qkd_hal_drivers.boxlink.transport.FrameTransport`, that *tap* hears of."""

    def __init__(self, line: FrameTransport, tap: WireTap) -> None:
        self._line = line
        self._tap = tap
        self.open = line.open
        self.close = line.close
        self.why_silent = line.why_silent

    @property
    def max_chunk(self) -> int:
        """Most key bytes of one CHUNK."""
        return self._line.max_chunk

    @property
    def heard(self) -> int:
        """Bytes received since :meth:`open`."""
        return self._line.heard

    def reset(self, deadline: Deadline) -> None:
        """End old input on both sides."""
        self._tap.sent({"type": "reset"}, 0)
        self._line.reset(deadline)

    def send(self, frame: bytes, deadline: Deadline) -> None:
        """Send one frame."""
        self._tap.sent(*_described(frame))
        self._line.send(frame, deadline)

    def receive(self, deadline: Deadline) -> bytes | None:
        """Return the next frame."""
        frame = self._line.receive(deadline)
        if frame is not None:
            self._tap.received(*_described(frame))
        return frame


def _described(raw: bytes) -> tuple[dict[str, str | int], int]:
    try:
        frame = decode_frame(raw)
    except ProtocolError as error:
        return {"type": "dropped", "why": error.what}, len(raw)
    return {
        "type": FrameType(frame.kind).name,
        "sealed": frame.sealed,
        "sequence": frame.sequence,
        "operation": f"{frame.operation:#06x}",
    }, len(frame.body)
