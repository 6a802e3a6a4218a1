"""Frames on USB bulk endpoints, with an interrupt endpoint as doorbell (section 2.2)."""

from __future__ import annotations

import struct
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from qkd_hal_firmware_mocks.boxlink.server import BoxServer
from qkd_hal_firmware_mocks.usb import descriptors
from qkd_hal_firmware_mocks.usb.function import Nak, Stall, UsbDescriptors

if TYPE_CHECKING:
    from collections.abc import Callable

    from qkd_hal_firmware_mocks.boxlink.box import BoxFirmware
    from qkd_hal_firmware_mocks.faults import FaultPlan
    from qkd_hal_firmware_mocks.usb.function import Setup

__all__ = ["USB_FAULTS", "BoxUsb"]

USB_FAULTS = frozenset({"nak", "halt"})
_OUT, _IN, _BELL = 0x01, 0x81, 0x82
_PACKET, _BELL_PACKET = 512, 8
_TO_INTERFACE, _LINK_RESET = 0x41, 1
_NAK_SECONDS = 0.1
_MAX_WAITING = 1 << 20  # bytes; for a host that asks and never reads


class BoxUsb:
    """A box with the vendor interface. ``server`` has the box, and the faults of *plan*.

    *vendor* and *product* are for tests: pid.codes gives them to nobody.
    """

    def __init__(
        self,
        box: BoxFirmware,
        plan: FaultPlan | None = None,
        *,
        vendor: int = 0x1209,
        product: int = 0x0001,
    ) -> None:
        own_faults = {"nak": self._begin_naks, "halt": self._halt_once}
        self.server = BoxServer(box, bytes, plan, divisible=False, own_faults=own_faults)
        self.server.attach(self._queue)
        settings = box.settings
        self.descriptors = UsbDescriptors(
            device=descriptors.device(vendor, product),
            configuration=_configuration(),
            strings={1: settings.vendor, 2: settings.model, 3: settings.serial, 4: "boxlink"},
        )
        self._longest = settings.max_frame
        self._wake: Callable[[], None] = lambda: None
        self._incoming = bytearray()
        self._outgoing: deque[bytes] = deque()
        self._waiting = self._position = 0
        self._rings = 0
        self._rung = False
        self._halts = False
        self._naks_until = 0.0
        self._lock = threading.Lock()

    def attach(self, wake: Callable[[], None]) -> None:
        """Take the bus's *wake*."""
        self._wake = wake

    def reset(self) -> None:
        """Drop frames on their way, as LINK_RESET does."""
        with self._lock:
            self._incoming.clear()
            self._outgoing.clear()
            self._waiting = self._position = 0
            self._rung = False

    def control(self, setup: Setup, data: bytes) -> bytes:
        """Do LINK_RESET."""
        if (setup.request_type, setup.request) != (_TO_INTERFACE, _LINK_RESET):
            raise Stall
        self.reset()
        return b""

    def receive(self, endpoint: int, data: bytes) -> None:
        """Collect packets; a short one ends the frame."""
        if self._naks:
            raise Nak
        if len(self._incoming) <= self._longest:  # beyond it the frame is only skipped
            self._incoming += data
        if len(data) < _PACKET:
            frame = bytes(self._incoming)
            self._incoming.clear()
            if len(frame) <= self._longest:
                self.server.serve(frame)

    def send(self, endpoint: int) -> bytes | None:
        """Give the next packet of a frame, or of the bell."""
        if self._naks:
            return None
        if self._halts and endpoint == _IN:
            self._halts = False
            raise Stall
        with self._lock:
            return self._ring() if endpoint == _BELL else self._next_packet()

    def _queue(self, frame: bytes) -> None:
        with self._lock:
            if self._waiting + len(frame) > _MAX_WAITING:
                return
            self._waiting += len(frame)
            self._outgoing.append(frame)
            self._rings = (self._rings + 1) & 0xFFFFFFFF
            self._rung = True
        self._wake()

    @property
    def _naks(self) -> bool:
        return time.monotonic() < self._naks_until

    def _begin_naks(self) -> None:
        self._naks_until = time.monotonic() + _NAK_SECONDS
        self.server.outlet.pacer.later(_NAK_SECONDS, lambda: self._wake())

    def _halt_once(self) -> None:
        self._halts = True

    def _ring(self) -> bytes | None:
        if not self._rung or not self._outgoing:
            return None
        self._rung = False
        return struct.pack(">II", len(self._outgoing), self._rings)

    def _next_packet(self) -> bytes | None:
        if not self._outgoing:
            return None
        start, self._position = self._position, self._position + _PACKET
        packet = self._outgoing[0][start : self._position]
        if len(packet) < _PACKET:  # also an empty one, after a multiple of the packet size
            self._waiting -= len(self._outgoing.popleft())
            self._position = 0
        return packet


def _configuration() -> bytes:
    endpoints = [
        descriptors.endpoint(_OUT, descriptors.BULK, _PACKET),
        descriptors.endpoint(_IN, descriptors.BULK, _PACKET),
        descriptors.endpoint(_BELL, descriptors.INTERRUPT, _BELL_PACKET, interval=4),
    ]
    return descriptors.configuration(
        descriptors.interface(0, (0xFF, 0x51, 0x4B), endpoints, string=4)
    )
