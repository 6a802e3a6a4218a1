"""Boxes and instruments on serial ports, told apart by the USB descriptors behind them.

A plain port tells nothing about what is wired to it: it is listed as unknown.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from qkd_hal.discovery import DiscoveredDevice
from qkd_hal.keys import Origin, Provenance
from qkd_hal_drivers.buses import portable, sysfs
from qkd_hal_drivers.buses.entry import usb_entry
from qkd_hal_drivers.buses.obstacles import NONE, first, locked, missing_extra, no_access

if TYPE_CHECKING:
    from collections.abc import Iterable

    from qkd_hal_drivers.buses.obstacles import Obstacle
    from qkd_hal_drivers.buses.sysfs import SerialPort, UsbDevice, UsbInterface

__all__ = ["discover", "recognised"]

_ROOT = Path("/")


def discover() -> list[DiscoveredDevice]:
    """List the serial ports; those that nothing marks as a box or instrument are unknown."""
    linux = sys.platform == "linux"
    return recognised(sysfs.serial_ports(_ROOT) if linux else portable.serial_ports())


def recognised(ports: Iterable[SerialPort], root: Path = _ROOT) -> list[DiscoveredDevice]:
    """List all *ports*, with what is known of each; ``dev`` and ``proc`` lie below *root*."""
    return [_entry(port, root) for port in ports]


def _entry(port: SerialPort, root: Path) -> DiscoveredDevice:
    obstacle = first(
        missing_extra("serial", "serial", "cobs"),
        no_access(port.node),
        locked(port.node, root),
    )
    if port.device is None or port.interface is None:
        return _plain(port, obstacle)
    scheme = _scheme(port.device, port.interface)
    return usb_entry(
        port.device,
        f"{scheme or 'serial'}://{_stable(port, root)}",
        obstacle,
        kind="serial port",
        known=bool(scheme),
        change_token=port.change_token,
    )


def _plain(port: SerialPort, obstacle: Obstacle) -> DiscoveredDevice:
    return DiscoveredDevice(
        url=f"serial://{port.node}",
        vendor="",
        model="serial port",
        serial_number="",
        provenance=Provenance(Origin.UNKNOWN),
        usable=obstacle == NONE,
        reason=obstacle.reason,
        cure=obstacle.cure,
        change_token=port.change_token,
        known=False,
    )


def _scheme(device: UsbDevice, interface: UsbInterface) -> str:
    """Return the scheme of the driver that fits for certain, or nothing."""
    if interface.named("boxlink"):  # docs/boxlink.md, section 2.2
        return "serial"
    tagger = device.manufacturer == "S-Fifteen Instruments"
    return "tdc1" if tagger and device.serial_number.startswith("TDC1") else ""


def _stable(port: SerialPort, root: Path) -> Path:
    """Return the name that our udev rule gives the port: the kernel's depends on the order."""
    links = root / "dev/qkd"
    for link in sorted(links.iterdir()) if links.is_dir() else ():
        if link.resolve() == port.node.resolve():
            return link
    return port.node
