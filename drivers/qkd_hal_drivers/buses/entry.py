"""From a USB device, and what stands in its way, to an entry of the list of devices."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from qkd_hal.discovery import DiscoveredDevice
from qkd_hal.keys import Origin, Provenance
from qkd_hal_drivers.buses.obstacles import NONE

if TYPE_CHECKING:
    from qkd_hal_drivers.buses.obstacles import Obstacle
    from qkd_hal_drivers.buses.sysfs import UsbDevice

__all__ = ["usb_entry", "usb_url"]

_TEST_VENDOR = 0x1209
_TEST_PRODUCTS = range(0x0001, 0x0011)  # pid.codes keeps these for tests; no product may ship them


def usb_entry(
    device: UsbDevice,
    url: str,
    obstacle: Obstacle,
    *,
    kind: str,
    known: bool = True,
    change_token: str = "",
) -> DiscoveredDevice:
    """Describe *device*; *kind* says what it is where the device itself is silent."""
    return DiscoveredDevice(
        url=url,
        vendor=device.manufacturer or f"USB vendor {device.vendor_id:04x}",
        model=device.product or kind,
        serial_number=device.serial_number,
        provenance=_provenance(device),
        usable=obstacle == NONE,
        reason=obstacle.reason,
        cure=obstacle.cure,
        change_token=change_token or device.change_token,
        known=known,
    )


def usb_url(scheme: str, device: UsbDevice) -> str:
    """Return ``scheme://VID:PID/SERIAL``, without a serial number where the device has none."""
    url = f"{scheme}://{device.vendor_id:04x}:{device.product_id:04x}"
    return f"{url}/{quote(device.serial_number, safe='')}" if device.serial_number else url


def _provenance(device: UsbDevice) -> Provenance:
    """What can be known unopened: an emulator wears a number that is kept for tests."""
    test = device.vendor_id == _TEST_VENDOR and device.product_id in _TEST_PRODUCTS
    return Provenance(Origin.SIMULATED if test else Origin.UNKNOWN)
