"""Lay out a machine: the part of ``/sys``, ``/dev`` and ``/proc`` that discovery reads."""

from __future__ import annotations

from pathlib import Path

import pytest

BOXLINK = (0xFF, 0x51, 0x4B)
CDC_DATA = (0x0A, 0x00, 0x00)
CCID = (0x0B, 0x00, 0x00)


class Machine:
    """A file tree like that of a Linux machine; *root* is its ``/``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._address = 0
        for directory in ("sys/bus/usb/devices", "sys/class/tty", "dev", "proc"):
            (root / directory).mkdir(parents=True)
        (root / "proc/locks").write_text("")

    def usb(
        self,
        ids: tuple[int, int] = (0x1234, 0x5678),
        *interfaces: tuple[tuple[int, int, int], str],
        manufacturer: str = "Acme",
        product: str = "Link One",
        serial: str = "A-7",
        port: str = "1-1",
    ) -> Path:
        """Plug a USB device in; return its directory."""
        self._address += 1
        directory = self.root / "sys/devices/usb1" / port
        directory.mkdir(parents=True)
        facts = {
            "idVendor": f"{ids[0]:04x}",
            "idProduct": f"{ids[1]:04x}",
            "busnum": "1",
            "devnum": str(self._address),
        }
        texts = {"manufacturer": manufacturer, "product": product, "serial": serial}
        self._write(directory, facts | {name: text for name, text in texts.items() if text})
        for number, (kind, text) in enumerate(interfaces):
            self._interface(directory, number, kind, text)
        node = self.root / f"dev/bus/usb/001/{self._address:03}"
        node.parent.mkdir(parents=True, exist_ok=True)
        node.touch()
        (self.root / "sys/bus/usb/devices" / port).symlink_to(directory)
        return directory

    def claim(self, device: Path, number: int, driver: str) -> None:
        """Let *driver* have interface *number* of *device*."""
        drivers = self.root / "sys/bus/usb/drivers" / driver
        drivers.mkdir(parents=True, exist_ok=True)
        (device / f"{device.name}:1.{number}" / "driver").symlink_to(drivers)

    def tty(self, name: str, hardware: Path, **attributes: str) -> Path:
        """Give *hardware* the serial port *name*; return its node."""
        directory = hardware / "tty" / name
        directory.mkdir(parents=True)
        self._write(directory, attributes)
        (directory / "device").symlink_to(hardware)
        (self.root / "sys/class/tty" / name).symlink_to(directory)
        node = self.root / "dev" / name
        node.touch()
        return node

    def acm(self, name: str, device: Path, number: int = 0) -> Path:
        """Give interface *number* of *device* the port *name*, as cdc_acm does."""
        return self.tty(name, device / f"{device.name}:1.{number}")

    def ftdi(self, name: str, device: Path, number: int = 0) -> Path:
        """Give interface *number* of *device* the port *name*, as USB-to-serial chips do."""
        return self.tty(name, device / f"{device.name}:1.{number}" / name)

    def _interface(self, device: Path, number: int, kind: tuple[int, int, int], text: str) -> None:
        directory = device / f"{device.name}:1.{number}"
        directory.mkdir()
        names = ("bInterfaceClass", "bInterfaceSubClass", "bInterfaceProtocol")
        numbers = {name: f"{value:02x}" for name, value in zip(names, kind, strict=True)}
        self._write(directory, numbers | ({"interface": text} if text else {}))

    def _write(self, directory: Path, attributes: dict[str, str]) -> None:
        for name, text in attributes.items():
            (directory / name).write_text(text + "\n")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine with nothing plugged in."""
    return Machine(tmp_path)
