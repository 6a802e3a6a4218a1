"""What the applet's session needs of a way to the card: CCID or PC/SC."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from qkd_hal.sources import Deadline

__all__ = ["CardLink"]


class CardLink(Protocol):
    """A way to one card. All but :meth:`close` are called by one thread at a time.

    Each raises our errors, with the device named: :class:`DeviceLostError` where device or
    card is gone, :class:`DeviceClosedError` once closed, :class:`DeadlineError` in time.
    """

    name: str
    """What messages call the device."""

    shared: bool
    """Whether other processes may reach the card between our turns."""

    @property
    def longest(self) -> int:
        """Bytes of data in one command; 255 where only short APDUs pass."""
        ...

    def open(self, deadline: Deadline) -> None:
        """Reach the card and power it."""
        ...

    def turn(self, deadline: Deadline) -> AbstractContextManager[None]:
        """Keep other processes from the card inside the block."""
        ...

    def transmit(self, apdu: bytes | bytearray, deadline: Deadline) -> bytearray:
        """Send a command APDU and return its answer.

        Raises:
            ProtocolError: no answer came of it; :meth:`recover` before the next.
        """
        ...

    def recover(self, deadline: Deadline) -> None:
        """After a failed :meth:`transmit`: forget it, and have the card ready for commands."""
        ...

    def close(self) -> None:
        """Let go of the card; idempotent, from any thread, wakes who waits."""
        ...
