"""What carries boxlink frames: a serial line, a TCP connection, a pair of USB endpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from qkd_hal.sources import Deadline

__all__ = ["FrameTransport"]


class FrameTransport(Protocol):
    """Whole frames of ``docs/boxlink.md``, section 3, out and in; it may lose or damage some.

    The client calls one method at a time, except :meth:`close`. Methods raise
    :class:`~qkd_hal.errors.DeviceClosedError` once closed, and
    :class:`~qkd_hal.errors.DeviceLostError` when the line is gone.
    """

    @property
    def max_chunk(self) -> int:
        """Most key bytes of one CHUNK on this kind of line (section 7.1)."""
        ...

    @property
    def heard(self) -> int:
        """Bytes received since :meth:`open`, also those of no use: a line at work is waited for."""
        ...

    def open(self, deadline: Deadline) -> None:
        """Connect.

        Raises:
            DeviceNotFoundError, DevicePermissionError, DeviceBusyError: it cannot be opened;
                the message names the cure.
            DeadlineError: the time is up.
        """
        ...

    def reset(self, deadline: Deadline) -> None:
        """End old input on both sides: one ``00`` on a stream, LINK_RESET on USB bulk."""
        ...

    def send(self, frame: bytes, deadline: Deadline) -> None:
        """Send one frame.

        Raises:
            DeadlineError: the line took no more until the deadline.
        """
        ...

    def receive(self, deadline: Deadline) -> bytes | None:
        """Return the next frame, ``None`` once the deadline has passed."""
        ...

    def close(self) -> None:
        """Release everything and wake a blocked call; idempotent, from any thread."""
        ...

    def why_silent(self) -> str:
        """Say what to check when nobody answered on this line: the cure of an error."""
        ...
