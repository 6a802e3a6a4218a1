"""What a USB firmware is to its bus: descriptors, and answers to transfers.

The same object serves the in-process virtual bus and the USB/IP server, so that a test on
the one proves something about the other. A bus calls one method at a time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Nak", "Setup", "Stall", "UsbDescriptors", "UsbFunction"]


class Stall(Exception):  # noqa: N818 - the field's term: the endpoint answers STALL
    """The endpoint halts; the host sees EPIPE until it clears the halt."""


class Nak(Exception):  # noqa: N818 - the field's term: the endpoint answers NAK
    """Not ready: the bus repeats the same transaction after the next `wake`."""


@dataclass(frozen=True, slots=True)
class Setup:
    """The eight bytes of a control transfer's set-up stage (USB 2.0, table 9-2)."""

    request_type: int
    request: int
    value: int
    index: int
    length: int


@dataclass(frozen=True, slots=True)
class UsbDescriptors:
    """What the device says of itself at enumeration.

    ``device``: the 18 bytes of the device descriptor; ``configuration``: configuration 1 with
    all its interface and endpoint descriptors; ``strings``: index → text, from 1.
    """

    device: bytes
    configuration: bytes
    strings: Mapping[int, str] = field(default_factory=dict)


class UsbFunction(Protocol):
    """A device's firmware above the standard requests, which the bus answers itself."""

    @property
    def descriptors(self) -> UsbDescriptors:
        """Fixed while plugged in."""
        ...

    def attach(self, wake: Callable[[], None]) -> None:
        """Take the function that wakes the bus when an IN endpoint has data; may be called
        from any thread, and does not block."""
        ...

    def reset(self) -> None:
        """Bus reset or new configuration: drop half-done transfers, keep durable state."""
        ...

    def control(self, setup: Setup, data: bytes) -> bytes:
        """Answer a class or vendor request; *data* is the OUT stage.

        Raises:
            Stall: not understood.
            Nak: no answer yet.
        """
        ...

    def receive(self, endpoint: int, data: bytes) -> None:
        """Take one OUT transaction of at most ``wMaxPacketSize`` bytes; empty is a
        zero-length packet.

        Raises:
            Stall: the endpoint halts.
            Nak: no room yet.
        """
        ...

    def send(self, endpoint: int) -> bytes | None:
        """Give the next IN packet, at most ``wMaxPacketSize`` bytes; ``None`` is NAK.

        Raises:
            Stall: the endpoint halts.
        """
        ...
