"""The same search by libraries, on systems that have no ``/sys``; opens nothing either.

Without opening a device, libusb tells no texts: they stay unknown.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qkd_hal_drivers.buses.sysfs import SerialPort, UsbDevice, UsbInterface

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["serial_ports", "usb_devices"]


def serial_ports() -> list[SerialPort]:
    """List the serial ports that pyserial sees."""
    from serial.tools.list_ports import comports

    return [_port(info) for info in sorted(comports())]


def usb_devices() -> list[UsbDevice]:
    """List the USB devices that libusb sees.

    Raises:
        ConfigurationError: this machine has no libusb.
    """
    import usb.core

    from qkd_hal_drivers import _usb

    devices: Iterable[Any] = usb.core.find(find_all=True, backend=_usb.provide_backend())
    return [_device(device) for device in devices]


def _device(device: Any) -> UsbDevice:
    interfaces = (interface for configuration in device for interface in configuration)
    return UsbDevice(
        vendor_id=device.idVendor,
        product_id=device.idProduct,
        manufacturer="",
        product="",
        serial_number="",
        node=None,
        change_token=f"usb-{device.bus}-{device.address}",
        interfaces=tuple(map(_interface, interfaces)),
    )


def _interface(interface: Any) -> UsbInterface:
    numbers = ("bInterfaceClass", "bInterfaceSubClass", "bInterfaceProtocol")
    first, second, third = (getattr(interface, name) for name in numbers)
    return UsbInterface(kind=(first, second, third))


def _port(info: Any) -> SerialPort:
    if info.vid is None:
        return SerialPort(Path(info.device), info.hwid)
    device = UsbDevice(
        vendor_id=info.vid,
        product_id=info.pid,
        manufacturer=info.manufacturer or "",
        product=info.product or "",
        serial_number=info.serial_number or "",
        node=None,
        change_token=info.hwid,
    )
    return SerialPort(Path(info.device), info.hwid, device, UsbInterface(text=info.interface or ""))
