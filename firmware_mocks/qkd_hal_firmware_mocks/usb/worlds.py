"""Two worlds to plug a firmware into: a bus in this process, and this machine's own kernel.

A test that takes a `UsbWorld` runs in both, with the same firmware object. The kernel's needs
root and ``vhci-hcd``, as in the guest that the tests boot.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import usb.backend.libusb1
import usb.core

from qkd_hal_firmware_mocks.usb.usbip import serve_connection
from qkd_hal_firmware_mocks.usb.usbip_wire import speed_of
from qkd_hal_firmware_mocks.usb.virtual_bus import VirtualBus

if TYPE_CHECKING:
    from collections.abc import Callable

    from qkd_hal_firmware_mocks.usb.function import UsbFunction
    from qkd_hal_firmware_mocks.usb.virtual_bus import Plugged, PluggedDevice

__all__ = ["KernelDevice", "KernelWorld", "UsbWorld", "VirtualWorld", "usb_world"]

_VHCI = Path("/sys/devices/platform/vhci_hcd.0")
_FREE = "004"  # VDEV_ST_NULL of linux/drivers/usb/usbip/usbip_common.h
_SECONDS = 20.0  # an emulated kernel enumerates a device in half a second
_T = TypeVar("_T")


class UsbWorld(Protocol):
    """A bus that functions are plugged into. ``backend`` is for ``usb.core.find``; ``kernel``
    tells whether a real one is behind it."""

    kernel: bool
    backend: Any

    def plug(self, function: UsbFunction) -> Plugged:
        """Plug *function* in; it has enumerated when this returns."""
        ...

    def unplug(self, plugged: Plugged) -> None:
        """Pull the plug, also in the middle of a transfer."""
        ...

    def close(self) -> None:
        """Unplug everything."""
        ...


def usb_world() -> UsbWorld:
    """The world that ``QKD_HAL_USB_WORLD`` names: ``virtual`` (unless set) or ``kernel``."""
    name = os.environ.get("QKD_HAL_USB_WORLD", "virtual")
    worlds: dict[str, Callable[[], UsbWorld]] = {"virtual": VirtualWorld, "kernel": KernelWorld}
    return worlds[name]()


class VirtualWorld:
    """The bus in this process."""

    kernel = False

    def __init__(self) -> None:
        self.bus = VirtualBus()
        self.backend: Any = self.bus.backend

    def plug(self, function: UsbFunction) -> PluggedDevice:
        """Plug *function* in."""
        return self.bus.plug(function)

    def unplug(self, plugged: Plugged) -> None:
        """Pull the plug."""
        self.bus.unplug(plugged)

    def close(self) -> None:
        """Unplug everything."""
        for plugged in self.backend.enumerate_devices():
            self.bus.unplug(plugged)


class KernelDevice:
    """A function on a port of ``vhci-hcd``, served by a thread of this process.

    ``sysfs`` is its directory there, ``node`` its file for libusb.
    """

    def __init__(self, function: UsbFunction) -> None:
        self._line, kernel_end = socket.socketpair()
        self._thread = threading.Thread(target=serve_connection, args=(function, self._line))
        self._thread.start()
        try:
            with kernel_end:
                self.sysfs = _attach(kernel_end, speed_of(function.descriptors))
        except BaseException:
            self._cut()
            raise
        self.bus = int((self.sysfs / "busnum").read_text())
        self.address = int((self.sysfs / "devnum").read_text())
        self.node = Path(f"/dev/bus/usb/{self.bus:03}/{self.address:03}")

    def unplug(self) -> None:
        """Cut the line, and wait until the kernel has noticed."""
        self._cut()
        _wait_for(lambda: not self.sysfs.exists() or None, "vanish")

    def _cut(self) -> None:
        with contextlib.suppress(OSError):  # the kernel may have hung up first
            self._line.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._line.close()


class KernelWorld:
    """This machine's kernel."""

    kernel = True

    def __init__(self) -> None:
        self.backend: Any = _libusb()
        self._plugged: list[KernelDevice] = []

    def plug(self, function: UsbFunction) -> KernelDevice:
        """Plug *function* in, and wait until libusb lists it."""
        device = KernelDevice(function)
        self._plugged.append(device)
        _wait_for(lambda: self._listed(device) or None, "be listed")
        return device

    def unplug(self, plugged: Plugged) -> None:
        """Pull the plug, and wait until libusb has noticed."""
        device = next(each for each in self._plugged if each is plugged)
        self._plugged.remove(device)
        device.unplug()
        _wait_for(lambda: not self._listed(device) or None, "leave the list")

    def close(self) -> None:
        """Unplug everything."""
        for plugged in tuple(self._plugged):
            self.unplug(plugged)

    def _listed(self, device: KernelDevice) -> bool:
        place = {"bus": device.bus, "address": device.address}
        return usb.core.find(backend=self.backend, **place) is not None


def _libusb() -> Any:
    import libusb_package

    return usb.backend.libusb1.get_backend(find_library=libusb_package.find_library)


def _attach(kernel_end: socket.socket, speed: int) -> Path:
    port = _free_port()
    words = (port, kernel_end.fileno(), port + 1, speed)
    (_VHCI / "attach").write_text(" ".join(map(str, words)), encoding="ascii")
    return _wait_for(lambda: _enumerated(port), "enumerate")


def _free_port() -> int:
    """A free port of the high-speed hub, which takes full speed, too."""
    for line in (_VHCI / "status").read_text().splitlines()[1:]:
        hub, port, status, *_ = line.split()
        if hub == "hs" and status == _FREE:
            return int(port)
    raise RuntimeError("every port of vhci-hcd is taken")


def _enumerated(port: int) -> Path | None:
    """The device at *port*, once it is configured."""
    for hub in _VHCI.glob("usb[0-9]*"):
        device = hub / f"{hub.name[3:]}-{port + 1}"
        configuration = device / "bConfigurationValue"
        fast = (hub / "speed").read_text().strip() == "480"
        if fast and configuration.exists() and configuration.read_text().strip():
            return device
    return None


def _wait_for(look: Callable[[], _T | None], what: str) -> _T:
    deadline = time.monotonic() + _SECONDS
    while (found := look()) is None:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the device did not {what} within {_SECONDS:.0f} s")
        time.sleep(0.01)
    return found
