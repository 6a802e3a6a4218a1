"""A virtual bus beside the machine's own, for whatever in this process asks pyusb for libusb."""

from __future__ import annotations

import itertools
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import usb.backend.libusb1
from usb.backend import IBackend

from qkd_hal_firmware_mocks.usb.virtual_backend import VirtualHandle
from qkd_hal_firmware_mocks.usb.virtual_bus import PluggedDevice, VirtualBus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["virtual_bus_beside_libusb"]

_OURS = (PluggedDevice, VirtualHandle)
_DELEGATED = {name for name in vars(IBackend) if not name.startswith("_")} - {"enumerate_devices"}


@contextmanager
def virtual_bus_beside_libusb() -> Iterator[VirtualBus]:
    """Give a bus whose devices pyusb finds like real ones, until the end of the block."""
    bus = VirtualBus()
    before = usb.backend.libusb1.get_backend

    def both(find_library: Callable[..., Any] | None = None) -> _BothBuses:
        return _BothBuses(bus, before(find_library=find_library))

    usb.backend.libusb1.get_backend = both
    try:
        yield bus
    finally:
        usb.backend.libusb1.get_backend = before


class _BothBuses(IBackend):  # type: ignore[misc]  # pyusb has no types
    """Each call goes to the bus that its device or handle, the first argument, is of.

    *real* may be ``None``: no libusb is installed.
    """

    def __init__(self, bus: VirtualBus, real: Any) -> None:
        self._virtual, self._real = bus.backend, real

    def enumerate_devices(self) -> Iterator[Any]:
        """Give the devices of both."""
        real = self._real.enumerate_devices() if self._real is not None else ()
        return itertools.chain(self._virtual.enumerate_devices(), real)

    def __getattribute__(self, name: str) -> Any:
        """Find what `IBackend` declares at the bus that is meant."""
        if name not in _DELEGATED:
            return super().__getattribute__(name)

        def call(what: Any, *arguments: Any) -> Any:
            bus = self._virtual if isinstance(what, _OURS) else self._real
            return getattr(bus, name)(what, *arguments)

        return call
