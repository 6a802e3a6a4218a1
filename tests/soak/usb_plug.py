"""The plug of a USB device on the virtual bus."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qkd_hal_firmware_mocks.usb.function import UsbFunction
    from qkd_hal_firmware_mocks.usb.virtual_bus import Plugged, VirtualBus

__all__ = ["UsbPlug"]


class UsbPlug:
    """The plug of *function* in *bus*."""

    def __init__(self, bus: VirtualBus, function: UsbFunction) -> None:
        self._bus = bus
        self._function = function
        self._lock = threading.Lock()
        self._plugged: Plugged | None = bus.plug(function)

    def plug(self) -> None:
        """Bring it back; harmless if it is there."""
        with self._lock:
            if self._plugged is None:
                self._plugged = self._bus.plug(self._function)

    def unplug(self) -> None:
        """Pull it; harmless if it is away."""
        with self._lock:
            plugged, self._plugged = self._plugged, None
            if plugged is not None:
                self._bus.unplug(plugged)
