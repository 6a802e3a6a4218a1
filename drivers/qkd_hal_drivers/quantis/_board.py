"""The generator's USB interface: its requests, its stream, and what it says of its modules."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

import usb.core
import usb.util

from qkd_hal.errors import ProtocolError
from qkd_hal_drivers import _usb

if TYPE_CHECKING:
    import array

__all__ = ["Board"]

_BOARD_VERSION = 0x10
_MODULES_DISABLE = 0x11
_MODULES_ENABLE = 0x12
_MODULES_STATUS = 0x13
_MODULES_MASK = 0x15
_MODULES_RATE = 0x16
_STARTUP_TESTS_WANTED = 0x17
_STARTUP_TESTS_DONE = 0x18
_READ, _WRITE = 0xC1, 0x41  # vendor requests to the interface
_STREAM = 0x86
_PACKETS = (64, 512)  # full and high speed
_REQUEST_MS = 1000
_SLICE_MS = 100  # how long close() and Ctrl-C may wait for a transfer


class Board:
    """One claimed generator. ``packet`` is the unit in which it gives bytes."""

    def __init__(self, found: Any, *, device: str) -> None:
        self._found = found
        self._device = device
        try:
            with _usb.errors(device):
                interface = _usb.configure(found)[(0, 0)]
                usb.util.claim_interface(found, 0)
            self.packet = self._packet_size(interface)
        except BaseException:
            self.release()
            raise

    @property
    def version(self) -> int:
        """The version of the board."""
        return self._number(_BOARD_VERSION, 4)

    @property
    def kilobits_per_second(self) -> int:
        """What each module gives."""
        return self._number(_MODULES_RATE, 4)

    @property
    def failed_modules(self) -> int | None:
        """A mask of the modules that do not work; ``None`` where not one is there."""
        there = self._number(_MODULES_MASK, 1)
        return there & ~self._number(_MODULES_STATUS, 1) if there else None

    @property
    def wants_startup_tests(self) -> bool:
        """Whether the board asks the host for tests (AIS 31) before it is used."""
        return self._number(_STARTUP_TESTS_WANTED, 1) != 0

    def confirm_startup_tests(self) -> None:
        """Tell the board that its output was tested and passed."""
        self._tell(_STARTUP_TESTS_DONE)

    def restart_modules(self) -> None:
        """Switch the modules off and on."""
        self._tell(_MODULES_DISABLE)
        self._tell(_MODULES_ENABLE)

    def read(self, size: int) -> bytearray:
        """Return up to *size* bytes, a multiple of ``packet``, of one slice of time.

        Nothing where none came, where the transfer ended at once (a zero-length packet), or
        where the endpoint had halted, which this undoes.
        """
        with _usb.errors(self._device):
            try:
                raw = self._found.read(_STREAM, size, _SLICE_MS)
            except usb.core.USBTimeoutError:
                return bytearray()
            except usb.core.USBError as error:
                if error.errno != errno.EPIPE:
                    raise
                self._found.clear_halt(_STREAM)
                return bytearray()
        return _moved(raw)

    def release(self) -> None:
        """Give the device back; whatever has happened to it."""
        usb.util.dispose_resources(self._found)

    def _packet_size(self, interface: Any) -> int:
        sizes = [each.wMaxPacketSize for each in interface if each.bEndpointAddress == _STREAM]
        if len(sizes) != 1 or sizes[0] not in _PACKETS:
            raise ProtocolError(
                "this is no Quantis: it has no stream at endpoint 0x86", device=self._device
            )
        size: int = sizes[0]
        return size

    def _number(self, request: int, size: int) -> int:
        with _usb.errors(self._device):
            raw = bytes(self._found.ctrl_transfer(_READ, request, 0, 0, size, _REQUEST_MS))
        if len(raw) != size:
            raise ProtocolError(
                f"request {request:#x} was answered with {len(raw)} bytes, not {size}",
                device=self._device,
            )
        return int.from_bytes(raw, "little")

    def _tell(self, request: int) -> None:
        with _usb.errors(self._device):
            self._found.ctrl_transfer(_WRITE, request, 0, 0, None, _REQUEST_MS)


def _moved(raw: array.array[int]) -> bytearray:
    """Copy the bytes of *raw*, and overwrite them there."""
    view = memoryview(raw).cast("B")
    bytes_ = bytearray(view)
    view[:] = bytes(len(view))
    return bytes_
