"""The bytes of USB/IP 1.1.1 (Linux ``Documentation/usb/usbip_protocol.rst``), device's side.

No I/O. All numbers are big-endian except the eight bytes of a set-up stage.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from qkd_hal_firmware_mocks.usb.descriptors import is_high_speed, parse
from qkd_hal_firmware_mocks.usb.function import Setup

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qkd_hal_firmware_mocks.usb.function import UsbDescriptors

__all__ = [
    "Command",
    "Import",
    "ListDevices",
    "Submit",
    "Unlink",
    "UsbIpError",
    "device_list",
    "import_reply",
    "read_commands",
    "read_request",
    "speed_of",
    "submit_reply",
    "unlink_reply",
]

_VERSION = 0x0111
_LIST, _IMPORT = 0x8005, 0x8003
_LISTED, _IMPORTED = 0x0005, 0x0003
_SUBMIT, _UNLINK, _SUBMITTED, _UNLINKED = 1, 2, 3, 4
_NOT_ISOCHRONOUS = (0, 0xFFFFFFFF)  # number_of_packets: old kernels and new ones
_ZERO_PACKET = 0x40  # URB_ZERO_PACKET of linux/usb.h
_REQUEST = struct.Struct(">HHI")
_COMMAND = struct.Struct(">IIIII")
_HEAD = 48
_BUS_ID = 32
_FULL_SPEED, _HIGH_SPEED = 2, 3  # enum usb_device_speed
_MAX_TRANSFER = 16 << 20
"""No more than usbfs lets all of a host's users have in flight at once (``usbfs_memory_mb``)."""


class UsbIpError(ValueError):
    """The peer does not speak USB/IP 1.1.1; the connection is of no more use."""


@dataclass(frozen=True, slots=True)
class ListDevices:
    """OP_REQ_DEVLIST: what is exported?"""


@dataclass(frozen=True, slots=True)
class Import:
    """OP_REQ_IMPORT: take over the device *bus_id*."""

    bus_id: str


@dataclass(frozen=True, slots=True)
class Submit:
    """CMD_SUBMIT: an URB."""

    number: int
    endpoint: int
    size: int
    setup: Setup
    data: bytes
    zero_packet: bool


@dataclass(frozen=True, slots=True)
class Unlink:
    """CMD_UNLINK: the host wants URB *target* back."""

    number: int
    target: int


Command: TypeAlias = Submit | Unlink


def read_request(buffer: bytearray) -> ListDevices | Import | None:
    """Take one request of the first phase out of *buffer*; ``None`` until it is whole.

    Raises:
        UsbIpError: another version, or an unknown request.
    """
    if len(buffer) < _REQUEST.size:
        return None
    version, code, _ = _REQUEST.unpack_from(buffer)
    if version != _VERSION or code not in (_LIST, _IMPORT):
        raise UsbIpError(f"no request of USB/IP 1.1.1: version {version:#x}, code {code:#x}")
    size = _REQUEST.size + (_BUS_ID if code == _IMPORT else 0)
    if len(buffer) < size:
        return None
    name = bytes(buffer[_REQUEST.size : size])
    del buffer[:size]
    return Import(_bus_id(name)) if code == _IMPORT else ListDevices()


def read_commands(buffer: bytearray) -> Iterator[Command]:
    """Take all whole commands of the second phase out of *buffer*.

    Raises:
        UsbIpError: an unknown command, isochronous packets, or an URB beyond 16 MiB.
    """
    while (command := _read_command(buffer)) is not None:
        yield command


def _read_command(buffer: bytearray) -> Command | None:
    if len(buffer) < _HEAD:
        return None
    kind, number, _, inward, endpoint = _COMMAND.unpack_from(buffer)
    if kind == _UNLINK:
        (target,) = struct.unpack_from(">I", buffer, _COMMAND.size)
        del buffer[:_HEAD]
        return Unlink(number, target)
    if kind != _SUBMIT or inward > 1 or endpoint > 15:
        raise UsbIpError(f"no command: {kind}, direction {inward}, endpoint {endpoint}")
    return _submit(buffer, number, endpoint, inward=bool(inward))


def _submit(buffer: bytearray, number: int, endpoint: int, *, inward: bool) -> Submit | None:
    flags, size, _, packets, _ = struct.unpack_from(">IIIII", buffer, _COMMAND.size)
    if size > _MAX_TRANSFER or packets not in _NOT_ISOCHRONOUS:
        raise UsbIpError(f"a transfer of {size} bytes in {packets} isochronous packets")
    end = _HEAD + (0 if inward else size)
    if len(buffer) < end:
        return None
    setup = Setup(*struct.unpack_from("<BBHHH", buffer, _HEAD - 8))
    data = bytes(buffer[_HEAD:end])
    del buffer[:end]
    address = endpoint | 0x80 if inward and endpoint else endpoint
    return Submit(number, address, size, setup, data, bool(flags & _ZERO_PACKET))


def _bus_id(field: bytes) -> str:
    try:
        return field.partition(b"\0")[0].decode("ascii")
    except UnicodeDecodeError:
        raise UsbIpError("a bus ID that is not ASCII") from None


def device_list(descriptors: UsbDescriptors, bus_id: str) -> bytes:
    """Build OP_REP_DEVLIST with the one device *bus_id*."""
    triples = {each.number: each.triple for each in parse(descriptors.configuration)}
    interfaces = b"".join(bytes([*triple, 0]) for triple in triples.values())
    head = _REQUEST.pack(_VERSION, _LISTED, 0) + struct.pack(">I", 1)
    return head + _device(descriptors, bus_id) + interfaces


def import_reply(descriptors: UsbDescriptors | None, bus_id: str) -> bytes:
    """Build OP_REP_IMPORT; ``None`` says that there is no such device, or it is taken."""
    if descriptors is None:
        return _REQUEST.pack(_VERSION, _IMPORTED, 1)
    return _REQUEST.pack(_VERSION, _IMPORTED, 0) + _device(descriptors, bus_id)


def speed_of(descriptors: UsbDescriptors) -> int:
    """Give the device's ``enum usb_device_speed``, as vhci takes it."""
    return _HIGH_SPEED if is_high_speed(parse(descriptors.configuration)) else _FULL_SPEED


def _device(descriptors: UsbDescriptors, bus_id: str) -> bytes:
    path = f"/sys/devices/qkd-hal-mock/usb1/{bus_id}"
    class_ = descriptors.device[4:7]
    vendor, product, release = struct.unpack_from("<HHH", descriptors.device, 8)
    interfaces, value = descriptors.configuration[4:6]
    return (
        path.encode().ljust(256, b"\0")
        + bus_id.encode().ljust(_BUS_ID, b"\0")
        + struct.pack(">IIIHHH", 1, 1, speed_of(descriptors), vendor, product, release)
        + class_
        + bytes([value, 1, interfaces])
    )


def submit_reply(number: int, status: int, actual: int, data: bytes) -> bytes:
    """Build RET_SUBMIT; *status* is 0 or an ``errno``, *data* what came IN."""
    head = _COMMAND.pack(_SUBMITTED, number, 0, 0, 0)
    return head + struct.pack(">iIIII8x", -status, actual, 0, 0, 0) + data


def unlink_reply(number: int, status: int) -> bytes:
    """Build RET_UNLINK; *status* is ECONNRESET, or 0 for an URB that had ended before."""
    return _COMMAND.pack(_UNLINKED, number, 0, 0, 0) + struct.pack(">i24x", -status)
