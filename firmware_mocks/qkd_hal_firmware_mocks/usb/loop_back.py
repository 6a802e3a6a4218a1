"""The smallest useful firmware: what goes in comes out, to try a bus and a host with.

Bulk OUT 0x01 comes back on bulk IN 0x81, transfer by transfer, and each transfer rings the
interrupt endpoint 0x82. Vendor requests read and write a register.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

from qkd_hal_firmware_mocks.usb import descriptors
from qkd_hal_firmware_mocks.usb.function import Nak, Stall, UsbDescriptors

if TYPE_CHECKING:
    from collections.abc import Callable

    from qkd_hal_firmware_mocks.usb.function import Setup

__all__ = ["LoopBack"]

_VENDOR, _PRODUCT = 0x1209, 0x0001  # pid.codes: for tests only
_PACKET, _BELL_PACKET = 512, 16
_OUT, _IN, _BELL = 0x01, 0x81, 0x82
_WRITE, _READ = 1, 2


class LoopBack:
    """The firmware. ``full``: OUT answers NAK; ``stalled``: endpoints that halt once;
    ``oversized``: the next IN packet is longer than the endpoint allows."""

    def __init__(self, serial_number: str = "LOOP-1") -> None:
        self.register = b""
        self.resets = 0
        self.stalled: set[int] = set()
        self.oversized = False
        self._full = False
        self._wake: Callable[[], None] = lambda: None
        self._incoming: list[bytes] = []
        self._outgoing: deque[bytes] = deque()
        self._bells: deque[bytes] = deque()
        self._lock = threading.Lock()
        self.descriptors = UsbDescriptors(
            device=descriptors.device(_VENDOR, _PRODUCT),
            configuration=_configuration(),
            strings={1: "qkd-hal", 2: "loop-back", 3: serial_number, 4: "echo"},
        )

    @property
    def full(self) -> bool:
        """Whether OUT answers NAK."""
        return self._full

    @full.setter
    def full(self, value: bool) -> None:
        self._full = value
        self._wake()

    def attach(self, wake: Callable[[], None]) -> None:
        """Take the bus's *wake*."""
        self._wake = wake

    def reset(self) -> None:
        """Drop all data; the register stays."""
        self.resets += 1
        with self._lock:
            self._incoming.clear()
            self._outgoing.clear()
            self._bells.clear()

    def say(self, message: bytes) -> None:
        """Offer *message* to the host, unasked, from any thread."""
        with self._lock:
            self._queue(message)
        self._wake()

    def offer_packet(self, packet: bytes) -> None:
        """Offer one packet, and no end of a message."""
        with self._lock:
            self._outgoing.append(packet)
        self._wake()

    def control(self, setup: Setup, data: bytes) -> bytes:
        """Write or read the register, or NAK while it is full."""
        if self._full:
            raise Nak
        if (setup.request_type, setup.request) == (0x40, _WRITE):
            self.register = data
            return b""
        if (setup.request_type, setup.request) == (0xC0, _READ):
            return self.register
        raise Stall

    def receive(self, endpoint: int, data: bytes) -> None:
        """Collect packets; a short one ends the message and sends it back."""
        self._stall(endpoint)
        if self._full:
            raise Nak
        with self._lock:
            self._incoming.append(data)
            if len(data) < _PACKET:
                self._queue(b"".join(self._incoming))
                self._incoming.clear()

    def send(self, endpoint: int) -> bytes | None:
        """Give the next packet of a message or a bell."""
        self._stall(endpoint)
        if self.oversized and endpoint == _IN:
            self.oversized = False
            return bytes(_PACKET + 1)
        queue = self._bells if endpoint == _BELL else self._outgoing
        with self._lock:
            return queue.popleft() if queue else None

    def _queue(self, message: bytes) -> None:
        # one past the end: a multiple of the packet size ends with a zero-length packet
        for start in range(0, len(message) + 1, _PACKET):
            self._outgoing.append(message[start : start + _PACKET])
        self._bells.append(len(message).to_bytes(4, "little"))

    def _stall(self, endpoint: int) -> None:
        if endpoint in self.stalled:
            self.stalled.remove(endpoint)
            raise Stall


def _configuration() -> bytes:
    endpoints = [
        descriptors.endpoint(_OUT, descriptors.BULK, _PACKET),
        descriptors.endpoint(_IN, descriptors.BULK, _PACKET),
        descriptors.endpoint(_BELL, descriptors.INTERRUPT, _BELL_PACKET, interval=4),
    ]
    return descriptors.configuration(
        descriptors.interface(0, (0xFF, 0, 0), endpoints, string=4),
    )
