"""Boxes, tokens and instruments on USB, told apart by their descriptors."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from qkd_hal_drivers.buses import portable, sysfs
from qkd_hal_drivers.buses.entry import usb_entry, usb_url
from qkd_hal_drivers.buses.obstacles import Obstacle, claimed, first, missing_extra, no_access

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from qkd_hal.discovery import DiscoveredDevice
    from qkd_hal_drivers.buses.sysfs import UsbDevice, UsbInterface

__all__ = ["APPLET_PRODUCT", "discover", "recognised"]

_BOXLINK = (0xFF, 0x51, 0x4B)  # docs/boxlink.md, section 2.2
_CCID_CLASS = 0x0B  # the USB-IF's smart-card class
APPLET_PRODUCT = "QKD key token"  # docs/key-token.md, Transport
_QUANTIS = (0x0ABA, 0x0102)  # ID Quantique's random generator
_ID120 = (0x1DDC, 0x0330)  # ID Quantique's single-photon detector


def discover() -> list[DiscoveredDevice]:
    """List USB devices that a driver of this package knows, or that could hold a key token."""
    linux = sys.platform == "linux"
    return recognised(sysfs.usb_devices(Path("/")) if linux else portable.usb_devices())


def recognised(devices: Iterable[UsbDevice]) -> list[DiscoveredDevice]:
    """List those among *devices* that a driver may open."""
    return [entry for device in devices for entry in _entries(device)]


def _entries(device: UsbDevice) -> Iterator[DiscoveredDevice]:
    ids = (device.vendor_id, device.product_id)
    if ids == _QUANTIS:
        url = usb_url("quantis", device)
        yield usb_entry(device, url, _obstacle(device, "usb"), kind="Quantis USB")
    elif ids == _ID120:
        alien = Obstacle("this release has no driver for it", "Use its maker's software")
        yield usb_entry(device, "", alien, kind="ID120")
    else:
        yield from _by_interface(device)


def _by_interface(device: UsbDevice) -> Iterator[DiscoveredDevice]:
    for interface in device.interfaces:
        if interface.kind == _BOXLINK and interface.named("boxlink"):
            obstacle = _obstacle(device, "usb", interface)
            yield usb_entry(device, usb_url("usb", device), obstacle, kind="QKD box")
        elif interface.kind[0] == _CCID_CLASS:
            url, obstacle = usb_url("token", device), _obstacle(device, "token", interface)
            known = device.product.startswith(APPLET_PRODUCT)
            yield usb_entry(device, url, obstacle, kind="smart-card reader", known=known)


def _obstacle(device: UsbDevice, extra: str, *used: UsbInterface) -> Obstacle:
    claims = [claimed(interface) for interface in used or device.interfaces]
    return first(missing_extra(extra, "usb"), no_access(device.node), *claims)
