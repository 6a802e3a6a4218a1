"""What a driver may tell of its wire, below the calls of the HAL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Tapped", "WireTap"]


class WireTap(Protocol):
    """Takes note of frames; never raises, and may be called from any thread."""

    def sent(self, header: Mapping[str, str | int], length: int) -> None:
        """Note a frame to the device: its *header* fields, and the bytes of its payload.

        The payload itself, even sealed, stays with the driver.
        """
        ...

    def received(self, header: Mapping[str, str | int], length: int) -> None:
        """Note a frame from the device, in the same way."""
        ...


@runtime_checkable
class Tapped(Protocol):
    """A driver that can be tapped: it tells ``wire_tap`` of each frame while that is set."""

    wire_tap: WireTap | None
