"""A USB bus in this process: devices that come and go, and a back end for pyusb.

``usb.core.find(backend=bus.backend, …)`` finds what `VirtualBus.plug` has plugged in.
"""

from __future__ import annotations

import errno
import itertools
import threading
import time
from typing import TYPE_CHECKING, Protocol

from qkd_hal_firmware_mocks.usb.device_controller import DeviceController, Transfer
from qkd_hal_firmware_mocks.usb.function import Setup
from qkd_hal_firmware_mocks.usb.virtual_backend import VirtualBackend

if TYPE_CHECKING:
    from collections.abc import Collection

    from qkd_hal_firmware_mocks.usb.function import UsbFunction

__all__ = ["Plugged", "PluggedDevice", "VirtualBus"]

_SET_CONFIGURATION = 9


class Plugged(Protocol):
    """Where a plugged device sits."""

    bus: int
    address: int


class PluggedDevice:
    """A function on the bus, and what the kernel knows of it.

    ``permitted`` may be switched at any time: without it, opening gives EACCES.
    ``kernel_drivers``: the interfaces that the kernel has a driver for; ``bound``: those that
    the driver holds; ``claims``: those that a handle holds, and which. ``present`` ends with
    `unplug`.
    """

    def __init__(
        self, function: UsbFunction, bus: int, address: int, kernel_drivers: Collection[int]
    ) -> None:
        self.bus = bus
        self.address = address
        self.permitted = True
        self.kernel_drivers = frozenset(kernel_drivers)
        self.bound = set(kernel_drivers)
        self.claims: dict[int, object] = {}
        self.present = True
        self.descriptors = function.descriptors
        self._changed = threading.Condition()
        self._changes = 0
        self._lock = threading.Lock()
        self._controller = DeviceController(function, self._wake)
        self.interfaces = self._controller.requests.interfaces

    @property
    def configuration(self) -> int:
        """``bConfigurationValue`` of the active configuration; 0 is unconfigured."""
        return self._controller.requests.configuration

    def reset(self) -> None:
        """Reset the port."""
        with self._lock:
            self._controller.reset()

    def unplug(self) -> None:
        """Pull the plug: every transfer, also a waiting one, ends with ENODEV."""
        self.present = False
        self._wake()

    def control(self, setup: Setup, data: bytes, seconds: float | None) -> Transfer:
        """Do a control transfer."""
        return self.transfer(Transfer(0, setup.length, data, setup), seconds)

    def transfer(self, transfer: Transfer, seconds: float | None) -> Transfer:
        """Do *transfer*, which ends with a status: 0 or an ``errno``.

        What had moved when *seconds* passed stays in it, beside ETIMEDOUT.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        with self._lock:
            self._controller.submit(transfer)
        try:
            self._finish(transfer, deadline)
        finally:
            with self._lock:
                self._controller.cancel(transfer)
        return transfer

    def _finish(self, transfer: Transfer, deadline: float | None) -> None:
        waiting = True
        while transfer.status is None:
            seen = self._changes  # before the look, so that no change is missed
            self._poll(transfer, last=not waiting)
            if transfer.status is None:
                waiting = self._wait(seen, deadline)

    def _poll(self, own: Transfer, *, last: bool) -> None:
        with self._lock:
            ended = self._controller.poll() if self.present else []
            if own.status is None and not self.present:
                own.status = errno.ENODEV
            if own.status is None and last:
                own.status = errno.ETIMEDOUT
            if own.status is not None:  # before another thread's poll moves it on
                self._controller.cancel(own)
        if any(each is not own for each in ended):  # another thread waits for it
            self._wake()

    def _wait(self, seen: int, deadline: float | None) -> bool:
        """Wait for a change; tell whether there is time left for the next."""
        with self._changed:
            left = None if deadline is None else deadline - time.monotonic()
            return self._changed.wait_for(lambda: self._changes != seen, left) and (
                left is None or left > 0
            )

    def _wake(self) -> None:
        with self._changed:
            self._changes += 1
            self._changed.notify_all()


class VirtualBus:
    """The bus. ``backend`` is what pyusb takes as ``backend=``; *kind* may be one of your own."""

    number = 1

    def __init__(self, kind: type[VirtualBackend] = VirtualBackend) -> None:
        self._devices: list[PluggedDevice] = []
        self._addresses = itertools.count(1)
        self.backend = kind(self._devices)

    def plug(
        self,
        function: UsbFunction,
        *,
        permitted: bool = True,
        kernel_drivers: Collection[int] = (),
        configured: bool = True,
    ) -> PluggedDevice:
        """Plug *function* in, as a kernel does: with configuration 1 set, unless told not to.

        Raises:
            DescriptorError: no kernel would take its configuration.
        """
        device = PluggedDevice(function, self.number, next(self._addresses), kernel_drivers)
        device.permitted = permitted
        device.reset()
        if configured:
            device.control(Setup(0, _SET_CONFIGURATION, 1, 0, 0), b"", None)
        self._devices.append(device)
        return device

    def unplug(self, plugged: Plugged) -> None:
        """Pull the plug of *plugged*."""
        device = next(each for each in self._devices if each is plugged)
        self._devices.remove(device)
        device.unplug()
