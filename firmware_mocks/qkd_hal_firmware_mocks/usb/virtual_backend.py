"""pyusb's back end for a virtual bus: what libusb does, on devices that are objects here.

Errors carry libusb's codes and the ``errno`` that pyusb gives them.
"""

from __future__ import annotations

import errno
import struct
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING

from usb.backend import IBackend
from usb.core import USBError, USBTimeoutError

from qkd_hal_firmware_mocks.usb.descriptors import is_high_speed
from qkd_hal_firmware_mocks.usb.device_controller import Transfer
from qkd_hal_firmware_mocks.usb.function import Setup

if TYPE_CHECKING:
    import array
    from collections.abc import Collection, Iterator

    from qkd_hal_firmware_mocks.usb.descriptors import Interface
    from qkd_hal_firmware_mocks.usb.virtual_bus import PluggedDevice

    Buffer = array.array[int]

__all__ = ["VirtualBackend", "VirtualHandle"]

_IN = 0x80
_FULL_SPEED, _HIGH_SPEED = 2, 3  # enum libusb_speed
_CLEAR_FEATURE, _SET_CONFIGURATION, _SET_INTERFACE = 1, 9, 11
_ENDPOINT_HALT = 0
_ON_INTERFACE, _ON_ENDPOINT = 1, 2
_SECONDS = 5.0  # USB 2.0, 9.2.6.4: what a host grants a standard request
_ERRORS = {
    errno.EACCES: (-3, "Access denied (insufficient permissions)"),
    errno.ENODEV: (-4, "No such device (it may have been disconnected)"),
    errno.ENOENT: (-5, "Entity not found"),
    errno.EBUSY: (-6, "Resource busy"),
    errno.ETIMEDOUT: (-7, "Operation timed out"),
    errno.EOVERFLOW: (-8, "Overflow"),
    errno.EPIPE: (-9, "Pipe error"),
}
_DEVICE_FIELDS = [
    "bLength",
    "bDescriptorType",
    "bcdUSB",
    "bDeviceClass",
    "bDeviceSubClass",
    "bDeviceProtocol",
    "bMaxPacketSize0",
    "idVendor",
    "idProduct",
    "bcdDevice",
    "iManufacturer",
    "iProduct",
    "iSerialNumber",
    "bNumConfigurations",
]
_CONFIGURATION_FIELDS = [
    "bLength",
    "bDescriptorType",
    "wTotalLength",
    "bNumInterfaces",
    "bConfigurationValue",
    "iConfiguration",
    "bmAttributes",
    "bMaxPower",
]


@dataclass(frozen=True, eq=False, slots=True)
class VirtualHandle:
    """An open device; interfaces are claimed by handle, not by process."""

    device: PluggedDevice


class VirtualBackend(IBackend):  # type: ignore[misc]  # pyusb has no types
    """What ``usb.core.find(backend=…)`` takes. There are no isochronous transfers."""

    def __init__(self, devices: Collection[PluggedDevice]) -> None:
        self._devices = devices

    def enumerate_devices(self) -> Iterator[PluggedDevice]:
        """Give the devices that are plugged in now."""
        return iter(tuple(self._devices))

    def get_parent(self, device: PluggedDevice) -> None:
        """There is no hub."""

    def get_device_descriptor(self, device: PluggedDevice) -> SimpleNamespace:
        """Give the device descriptor, and where the device sits."""
        values = struct.unpack("<BBHBBBBHHHBBBB", device.descriptors.device)
        return SimpleNamespace(
            **dict(zip(_DEVICE_FIELDS, values, strict=True)),
            bus=device.bus,
            address=device.address,
            port_number=device.address,
            port_numbers=(device.address,),
            speed=_HIGH_SPEED if is_high_speed(device.interfaces) else _FULL_SPEED,
        )

    def get_configuration_descriptor(self, device: PluggedDevice, config: int) -> SimpleNamespace:
        """Give the head of configuration *config*, of which there is one."""
        if config:
            raise _error(errno.ENOENT)
        values = struct.unpack_from("<BBHBBBBB", device.descriptors.configuration)
        fields = dict(zip(_CONFIGURATION_FIELDS, values, strict=True))
        return SimpleNamespace(**fields, extra_descriptors=[])

    def get_interface_descriptor(
        self, device: PluggedDevice, index: int, alternate: int, config: int
    ) -> SimpleNamespace:
        """Give an interface by its place, not its number.

        Raises:
            IndexError: there is none; pyusb stops counting.
        """
        self.get_configuration_descriptor(device, config)
        interface = _interface_at(device, index, alternate)
        class_, subclass, protocol = interface.triple
        return SimpleNamespace(
            bLength=9,
            bDescriptorType=4,
            bInterfaceNumber=interface.number,
            bAlternateSetting=interface.alternate,
            bNumEndpoints=len(interface.endpoints),
            bInterfaceClass=class_,
            bInterfaceSubClass=subclass,
            bInterfaceProtocol=protocol,
            iInterface=interface.string,
            extra_descriptors=list(interface.extra),
        )

    def get_endpoint_descriptor(
        self, device: PluggedDevice, endpoint: int, index: int, alternate: int, config: int
    ) -> SimpleNamespace:
        """Give an endpoint by its place.

        Raises:
            IndexError: there is none.
        """
        self.get_configuration_descriptor(device, config)
        found = _interface_at(device, index, alternate).endpoints[endpoint]
        return SimpleNamespace(
            bLength=7,
            bDescriptorType=5,
            bEndpointAddress=found.address,
            bmAttributes=found.attributes,
            wMaxPacketSize=found.max_packet,
            bInterval=found.interval,
            bRefresh=0,
            bSynchAddress=0,
            extra_descriptors=list(found.extra),
        )

    def open_device(self, device: PluggedDevice) -> VirtualHandle:
        """Open *device*, as opening its node under ``/dev/bus/usb`` would go."""
        if not device.present:
            raise _error(errno.ENODEV)
        if not device.permitted:
            raise _error(errno.EACCES)
        return VirtualHandle(device)

    def close_device(self, handle: VirtualHandle) -> None:
        """Close *handle* and release what it claimed."""
        claims = handle.device.claims
        for interface in [each for each, owner in claims.items() if owner is handle]:
            del claims[interface]

    def set_configuration(self, handle: VirtualHandle, value: int) -> None:
        """Set configuration *value*; refused while an interface is claimed or bound."""
        device = _present(handle)
        if device.claims or device.bound:
            raise _error(errno.EBUSY)
        if value not in (0, 1):
            raise _error(errno.ENOENT)
        self._standard(handle, 0, _SET_CONFIGURATION, value, 0)

    def get_configuration(self, handle: VirtualHandle) -> int:
        """Give the active configuration, 0 for none."""
        return _present(handle).configuration

    def set_interface_altsetting(
        self, handle: VirtualHandle, interface: int, alternate: int
    ) -> None:
        """Choose an alternate setting of a claimed interface."""
        if _present(handle).claims.get(interface) is not handle:
            raise _error(errno.ENOENT)
        self._standard(handle, _ON_INTERFACE, _SET_INTERFACE, alternate, interface)

    def claim_interface(self, handle: VirtualHandle, interface: int) -> None:
        """Claim *interface*: one handle at a time, and no driver of the kernel."""
        device = _present(handle)
        if interface not in {each.number for each in device.interfaces}:
            raise _error(errno.ENOENT)
        if interface in device.bound:
            raise _error(errno.EBUSY)
        if device.claims.setdefault(interface, handle) is not handle:
            raise _error(errno.EBUSY)

    def release_interface(self, handle: VirtualHandle, interface: int) -> None:
        """Give *interface* back."""
        device = _present(handle)
        if device.claims.get(interface) is not handle:
            raise _error(errno.ENOENT)
        del device.claims[interface]

    def bulk_write(
        self, handle: VirtualHandle, endpoint: int, interface: int, data: Buffer, timeout: int
    ) -> int:
        """Send *data*; empty is a zero-length packet. Gives how many bytes went."""
        transfer = Transfer(endpoint, data=data.tobytes())
        return self._move(handle, interface, transfer, timeout)

    def bulk_read(
        self, handle: VirtualHandle, endpoint: int, interface: int, buffer: Buffer, timeout: int
    ) -> int:
        """Fill *buffer* up to its end or a short packet. Gives how many bytes came."""
        transfer = Transfer(endpoint, len(buffer) * buffer.itemsize)
        moved = self._move(handle, interface, transfer, timeout)
        memoryview(buffer).cast("B")[:moved] = transfer.received
        return moved

    intr_write = bulk_write
    intr_read = bulk_read

    def ctrl_transfer(
        self,
        handle: VirtualHandle,
        request_type: int,
        request: int,
        value: int,
        index: int,
        data: Buffer,
        timeout: int,
    ) -> int:
        """Do a control transfer; *data* is sent, or is filled. Gives how many bytes moved."""
        size = len(data) * data.itemsize
        out = b"" if request_type & _IN else data.tobytes()
        setup = Setup(request_type, request, value, index, size)
        transfer = _present(handle).control(setup, out, _seconds(timeout))
        if transfer.status:
            raise _error(transfer.status)
        memoryview(data).cast("B")[: len(transfer.received)] = transfer.received
        return transfer.moved

    def clear_halt(self, handle: VirtualHandle, endpoint: int) -> None:
        """End the halt of *endpoint*."""
        self._standard(handle, _ON_ENDPOINT, _CLEAR_FEATURE, _ENDPOINT_HALT, endpoint)

    def reset_device(self, handle: VirtualHandle) -> None:
        """Reset the port; claims and configuration stay."""
        _present(handle).reset()

    def is_kernel_driver_active(self, handle: VirtualHandle, interface: int) -> bool:
        """Tell whether a driver of the kernel holds *interface*."""
        return interface in _present(handle).bound

    def detach_kernel_driver(self, handle: VirtualHandle, interface: int) -> None:
        """Take *interface* from its driver."""
        if not self.is_kernel_driver_active(handle, interface):
            raise _error(errno.ENOENT)
        handle.device.bound.remove(interface)

    def attach_kernel_driver(self, handle: VirtualHandle, interface: int) -> None:
        """Give *interface* back to its driver."""
        device = _present(handle)
        if interface in device.claims or interface in device.bound:
            raise _error(errno.EBUSY)
        if interface not in device.kernel_drivers:
            raise _error(errno.ENOENT)
        device.bound.add(interface)

    def _move(self, handle: VirtualHandle, interface: int, transfer: Transfer, timeout: int) -> int:
        device = _present(handle)
        if device.claims.get(interface) is not handle:
            self.claim_interface(handle, interface)  # as the kernel does for the forgetful
        device.transfer(transfer, _seconds(timeout))
        late = transfer.status == errno.ETIMEDOUT and transfer.moved
        if transfer.status and not late:  # pyusb: a time-out after the first byte is none
            raise _error(transfer.status)
        return transfer.moved

    def _standard(
        self, handle: VirtualHandle, recipient: int, request: int, value: int, index: int
    ) -> None:
        setup = Setup(recipient, request, value, index, 0)
        transfer = _present(handle).control(setup, b"", _SECONDS)
        if transfer.status:
            raise _error(errno.ENOENT if transfer.status == errno.EPIPE else transfer.status)


def _interface_at(device: PluggedDevice, index: int, alternate: int) -> Interface:
    numbers = sorted({each.number for each in device.interfaces})
    settings = [each for each in device.interfaces if each.number == numbers[index]]
    return settings[alternate]


def _present(handle: VirtualHandle) -> PluggedDevice:
    if not handle.device.present:
        raise _error(errno.ENODEV)
    return handle.device


def _seconds(timeout: int) -> float | None:
    return timeout / 1000 if timeout else None  # libusb: 0 waits for ever


def _error(number: int) -> USBError:
    code, text = _ERRORS[number]
    kind = USBTimeoutError if number == errno.ETIMEDOUT else USBError
    return kind(text, code, number)
