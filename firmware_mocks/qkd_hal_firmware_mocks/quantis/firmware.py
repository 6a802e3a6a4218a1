"""The generator's firmware: vendor requests, and a stream on one bulk endpoint."""

from __future__ import annotations

import os
import struct
import threading
from collections import deque
from typing import TYPE_CHECKING

from qkd_hal_firmware_mocks.usb import descriptors
from qkd_hal_firmware_mocks.usb.function import Stall, UsbDescriptors

if TYPE_CHECKING:
    from collections.abc import Callable

    from qkd_hal_firmware_mocks.usb.function import Setup

__all__ = ["PACKET", "STREAM", "Quantis"]

PACKET = 512
STREAM = 0x86
_VENDOR, _PRODUCT = 0x1209, 0x0007  # pid.codes: for tests only
_READ, _WRITE = 0xC1, 0x41
_DISABLE, _ENABLE, _TESTED = 0x11, 0x12, 0x18


class Quantis:
    """A :class:`~qkd_hal_firmware_mocks.usb.function.UsbFunction` with one module.

    *make* makes that many bytes. Faults: ``module_ok`` false is a module that failed,
    ``modules`` the mask of those built in, ``stalls`` how often the endpoint halts next,
    ``silent`` no data, ``scripted`` packets that are sent before any other.
    """

    def __init__(
        self,
        make: Callable[[int], bytes] = os.urandom,
        *,
        serial_number: str = "MOCK0001",
        stream: int = STREAM,
    ) -> None:
        self._make = make
        self._wake: Callable[[], None] = lambda: None
        self._lock = threading.Lock()
        self.modules = 1
        self.module_ok = True
        self.tests_wanted = True
        self.stalls = 0
        self.restarts = 0
        self.scripted: deque[bytes] = deque()
        self._silent = False
        endpoint = descriptors.endpoint(stream, descriptors.BULK, PACKET)
        self.descriptors = UsbDescriptors(
            device=descriptors.device(_VENDOR, _PRODUCT, release=0x0200, triple=(0xFF, 0, 0)),
            configuration=descriptors.configuration(
                descriptors.interface(0, (0xFF, 0, 0), [endpoint])
            ),
            strings={1: "qkd-hal", 2: "simulated Quantis USB", 3: serial_number},
        )

    @property
    def silent(self) -> bool:
        """Whether the stream answers NAK."""
        return self._silent

    @silent.setter
    def silent(self, value: bool) -> None:
        self._silent = value
        self._wake()

    def attach(self, wake: Callable[[], None]) -> None:
        """Take the bus's *wake*."""
        self._wake = wake

    def reset(self) -> None:
        """Nothing is half done, ever."""

    def control(self, setup: Setup, data: bytes) -> bytes:
        """Answer one of the requests 0x10 to 0x18."""
        if setup.request_type == _WRITE:
            self._command(setup.request)
            return b""
        numbers = {
            0x10: struct.pack("<I", 2),  # version of the board
            0x13: bytes([self.modules if self.module_ok else 0]),
            0x14: bytes([1]),  # modules have power
            0x15: bytes([self.modules]),
            0x16: struct.pack("<I", 4000),  # kbit/s of each module
            0x17: bytes([self.tests_wanted]),
        }
        if setup.request_type != _READ or setup.request not in numbers:
            raise Stall
        return numbers[setup.request][: setup.length]

    def receive(self, endpoint: int, data: bytes) -> None:
        """There is no endpoint to send to."""
        raise Stall

    def send(self, endpoint: int) -> bytes | None:
        """Give one packet of random bytes."""
        with self._lock:
            if self.stalls:
                self.stalls -= 1
                raise Stall
            if self.scripted:
                return self.scripted.popleft()
        return None if self._silent else self._make(PACKET)

    def _command(self, request: int) -> None:
        if request == _ENABLE:
            self.restarts += 1
        elif request == _TESTED:
            self.tests_wanted = False
        elif request != _DISABLE:
            raise Stall
