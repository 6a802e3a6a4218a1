"""USB devices and serial ports as the Linux kernel shows them under ``/sys``.

Reading there opens no device, needs no right and no library; asking libusb for a serial
number would open the device. *root* stands for ``/``: tests lay a tree out below it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["SerialPort", "UsbDevice", "UsbInterface", "serial_ports", "usb_devices"]

_MAX_ATTRIBUTE = 4096  # bytes: sysfs shows one page; a USB string has at most 126 characters
_NO_HARDWARE = "0"  # PORT_UNKNOWN of serial_core: a line that the driver only keeps in reserve
_USERLAND = "usbfs"  # the "driver" of an interface that a program has claimed


@dataclass(frozen=True, slots=True)
class UsbInterface:
    """One interface: ``kind`` is class, subclass, protocol; ``text`` its name, ``None`` where
    it cannot be read unopened; ``driver`` who has claimed it."""

    kind: tuple[int, int, int] = (0, 0, 0)
    text: str | None = None
    driver: str = ""

    def named(self, beginning: str) -> bool:
        """Whether the name has this beginning, as far as can be told."""
        return self.text is None or self.text.startswith(beginning)

    @property
    def claimed_by_program(self) -> bool:
        """Whether a program, rather than a kernel driver, has this interface."""
        return self.driver == _USERLAND


@dataclass(frozen=True, slots=True)
class UsbDevice:
    """One USB device; texts are what it says of itself, made printable. ``node`` is where it
    would be opened, if it has such a place."""

    vendor_id: int
    product_id: int
    manufacturer: str
    product: str
    serial_number: str
    node: Path | None
    change_token: str
    interfaces: tuple[UsbInterface, ...] = ()


@dataclass(frozen=True, slots=True)
class SerialPort:
    """One serial port, with the USB device and interface that it belongs to, if any."""

    node: Path
    change_token: str
    device: UsbDevice | None = None
    interface: UsbInterface | None = None


def usb_devices(root: Path) -> list[UsbDevice]:
    """List the USB devices; those that vanish meanwhile are left out."""
    directory = root / "sys/bus/usb/devices"
    found = [_device(entry.resolve(), root) for entry in _children(directory)]
    return [device for device in found if device is not None]


def serial_ports(root: Path) -> list[SerialPort]:
    """List the serial ports that have hardware behind them."""
    ports = [_port(entry, root) for entry in _children(root / "sys/class/tty")]
    return [port for port in ports if port is not None]


def _children(directory: Path) -> list[Path]:
    try:
        return sorted(directory.iterdir())
    except OSError:
        return []


def _device(directory: Path, root: Path) -> UsbDevice | None:
    ids = [_number(directory / name, base=16) for name in ("idVendor", "idProduct")]
    place = [_number(directory / name) for name in ("busnum", "devnum")]
    if None in ids or None in place:
        return None  # an interface, or a device that was unplugged while we looked
    (vendor_id, product_id), (bus, address) = ids, place
    return UsbDevice(
        vendor_id=vendor_id or 0,
        product_id=product_id or 0,
        manufacturer=_text(directory / "manufacturer"),
        product=_text(directory / "product"),
        serial_number=_text(directory / "serial"),
        node=root / f"dev/bus/usb/{bus:03}/{address:03}",
        change_token=f"usb-{directory.name}-{_birth(directory)}",
        interfaces=tuple(_interfaces(directory)),
    )


def _interfaces(directory: Path) -> list[UsbInterface]:
    found = [_interface(child) for child in _children(directory) if ":" in child.name]
    return [interface for interface in found if interface is not None]


def _interface(directory: Path) -> UsbInterface | None:
    names = ("bInterfaceClass", "bInterfaceSubClass", "bInterfaceProtocol")
    numbers = [_number(directory / name, base=16) for name in names]
    if None in numbers:
        return None
    first, second, third = (number or 0 for number in numbers)
    driver = directory / "driver"
    return UsbInterface(
        kind=(first, second, third),
        text=_text(directory / "interface"),
        driver=driver.resolve().name if driver.is_symlink() else "",
    )


def _port(entry: Path, root: Path) -> SerialPort | None:
    hardware = entry / "device"
    if not hardware.exists() or _text(entry / "type") == _NO_HARDWARE:
        return None  # a console, a pseudo-terminal, or a line without a chip
    node, token = root / "dev" / entry.name, f"tty-{entry.name}-{_birth(entry.resolve())}"
    directory = hardware.resolve()
    for place in (directory, directory.parent):  # of ttyACM*, of ttyUSB*
        device, interface = _device(place.parent, root), _interface(place)
        if device and interface:
            return SerialPort(node, token, device, interface)
    return SerialPort(node, token)


def _birth(directory: Path) -> int:
    """A number that a device plugged in again does not share; 0 if it has just gone."""
    try:
        return directory.stat().st_ino
    except OSError:
        return 0


def _number(path: Path, *, base: int = 10) -> int | None:
    text = _text(path)
    if not text:  # most often; int() would say so with an error that can swallow a Ctrl-C
        return None
    try:
        return int(text, base)
    except ValueError:
        return None


def _text(path: Path) -> str:
    try:
        with path.open("rb", buffering=0) as file:
            raw = file.read(_MAX_ATTRIBUTE)
    except OSError:
        return ""
    text = raw.decode(errors="replace").strip()
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
