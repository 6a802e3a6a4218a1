"""The interface of a box on USB: found by its class, claimed, read and written."""

from __future__ import annotations

import array
import errno
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import usb.core
import usb.util

from qkd_hal.errors import DeviceNotFoundError, ProtocolError
from qkd_hal_drivers import _usb

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Endpoints"]

_TRIPLE: Final = (0xFF, 0x51, 0x4B)
_TO_INTERFACE: Final = 0x41  # bmRequestType: vendor, to an interface
_LINK_RESET: Final = 0x01
_REQUEST_MS: Final = 1000
_BELL_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class _Addresses:
    out: int
    into: int
    bell: int
    packet: int  # wMaxPacketSize of the bulk endpoints
    bell_packet: int


class Endpoints:
    """A claimed interface. All raise :mod:`qkd_hal.errors`; times are in milliseconds.

    Raises:
        ProtocolError: the device has no boxlink interface.
    """

    def __init__(self, found: Any, *, longest: int, device: str) -> None:
        self._found = found
        self._device = device
        try:
            with _usb.errors(device):
                interface = _boxlink_interface(_usb.configure(found), device)
                self._number: int = interface.bInterfaceNumber
                self._claim(interface)
            self._at = _addresses(interface, device)
            self.packet = self._at.packet
        except BaseException:
            self.release()
            raise
        # One packet more than the longest frame, so that a longer one is seen to be longer.
        size = (longest // self.packet + 1) * self.packet
        self._buffer: array.array[int] = array.array("B", bytes(size))
        self._view = memoryview(self._buffer)
        self._bell: array.array[int] = array.array("B", bytes(self._at.bell_packet))

    def read(self, timeout: int) -> memoryview | None:
        """Return what one bulk read gave, valid until the next; ``None``: nothing in time."""
        try:
            moved = self._found.read(self._at.into, self._buffer, timeout)
        except usb.core.USBTimeoutError:
            return None
        except usb.core.USBError as error:
            self._recover(error, self._at.into)
            return None
        return self._view[:moved]

    def write(self, data: memoryview, timeout: int) -> int | None:
        """Write *data*; return how many bytes went, ``None``: not one in time."""
        try:
            moved: int = self._found.write(self._at.out, data, timeout)
        except usb.core.USBTimeoutError:
            return None
        except usb.core.USBError as error:
            self._recover(error, self._at.out)
            return len(data)  # the frame is lost; whoever waits for its answer repeats it
        return moved

    def wait_for_bell(self, timeout: int) -> None:
        """Wait until the box says that frames are waiting, or the time is up."""
        try:
            self._found.read(self._at.bell, self._bell, timeout)
        except usb.core.USBTimeoutError:
            return
        except usb.core.USBError as error:
            self._recover(error, self._at.bell)

    def reset(self) -> None:
        """LINK_RESET: the box drops frames that are half-received or wait to be sent."""
        with _usb.errors(self._device):
            self._found.ctrl_transfer(
                _TO_INTERFACE, _LINK_RESET, 0, self._number, None, _REQUEST_MS
            )

    def release(self) -> None:
        """Give the device back, whatever has happened to it."""
        usb.util.dispose_resources(self._found)

    def _claim(self, interface: Any) -> None:
        try:
            if self._found.is_kernel_driver_active(self._number):
                self._found.detach_kernel_driver(self._number)  # nobody else speaks boxlink
        except NotImplementedError:
            pass  # this system binds no drivers
        usb.util.claim_interface(self._found, self._number)
        if interface.bAlternateSetting:
            interface.set_altsetting()

    def _recover(self, error: usb.core.USBError, endpoint: int) -> None:
        """Undo a halt, with the loss of frames on their way; raise for anything else."""
        if error.errno != errno.EPIPE:
            raise _usb.device_error(error, self._device) from None
        with _usb.errors(self._device):
            self._found.clear_halt(endpoint)
        self.reset()


def _boxlink_interface(configuration: Iterable[Any], device: str) -> Any:
    for interface in configuration:
        triple = (
            interface.bInterfaceClass,
            interface.bInterfaceSubClass,
            interface.bInterfaceProtocol,
        )
        if triple == _TRIPLE and interface.bNumEndpoints:
            return interface
    raise DeviceNotFoundError(
        "the device has no boxlink interface",
        device=device,
        cure="If it is a serial box, open it as serial:///dev/ttyACM0",
    )


def _addresses(interface: Any, device: str) -> _Addresses:
    kinds: dict[tuple[int, bool], Any] = {}
    for endpoint in interface:
        inward = usb.util.endpoint_direction(endpoint.bEndpointAddress) == usb.util.ENDPOINT_IN
        kinds.setdefault((usb.util.endpoint_type(endpoint.bmAttributes), inward), endpoint)
    bulk, interrupt = usb.util.ENDPOINT_TYPE_BULK, usb.util.ENDPOINT_TYPE_INTR
    try:
        out, into, bell = kinds[bulk, False], kinds[bulk, True], kinds[interrupt, True]
    except KeyError:
        raise ProtocolError("its boxlink interface lacks an endpoint", device=device) from None
    packet, bell_packet = into.wMaxPacketSize, bell.wMaxPacketSize
    if not packet or packet != out.wMaxPacketSize or bell_packet < _BELL_BYTES:
        raise ProtocolError("its boxlink endpoints have impossible sizes", device=device)
    return _Addresses(
        out.bEndpointAddress, into.bEndpointAddress, bell.bEndpointAddress, packet, bell_packet
    )
