"""The token as a USB device of class 0B: packets to messages and back."""

from __future__ import annotations

import struct
from collections import deque
from typing import TYPE_CHECKING

from qkd_hal_firmware_mocks.token.ccid_reader import HEADER, CcidReader, announced_length
from qkd_hal_firmware_mocks.token.faults import PowerCut
from qkd_hal_firmware_mocks.usb import descriptors as usb
from qkd_hal_firmware_mocks.usb.function import Setup, Stall, UsbDescriptors

if TYPE_CHECKING:
    from collections.abc import Callable

    from qkd_hal_firmware_mocks.faults import FaultPlan
    from qkd_hal_firmware_mocks.token.applet import KeyApplet
    from qkd_hal_firmware_mocks.token.model import Model

__all__ = ["BULK_IN", "BULK_OUT", "INTERRUPT_IN", "CcidToken"]

BULK_OUT, BULK_IN, INTERRUPT_IN = 0x01, 0x82, 0x83

_PACKET = 64
_NOTICE_PACKET = 8
_NOTICE_INTERVAL = 16  # ms between looks at the interrupt endpoint
_CLASS = (0x0B, 0, 0)
_FEATURES = 0x0004_00BA  # everything automatic; short and extended APDU level exchange
_T1 = 2
_CLOCK_KHZ, _BITS_PER_SECOND, _IFSD = 4000, 10_752, 254  # of no meaning at APDU level
_COMMAND_OVERHEAD = 9  # an extended APDU beside its data
_ABORT_REQUEST = (0x21, 0x01)
_TEST_VENDOR, _TEST_PRODUCT = 0x1209, 0x0005  # pid.codes, for tests only


class CcidToken:
    """A :class:`~qkd_hal_firmware_mocks.usb.function.UsbFunction` around an applet.

    *plan* may hold every :class:`~qkd_hal_firmware_mocks.token.faults.Fault`. *power_cut* is
    called when one cuts the power, and should unplug the device; without it the device starts
    anew in silence.
    """

    def __init__(
        self,
        applet: KeyApplet,
        plan: FaultPlan | None = None,
        *,
        power_cut: Callable[[], None] = lambda: None,
    ) -> None:
        model = applet.model
        self._reader = CcidReader(applet, plan)
        self._largest = HEADER + max(
            model.max_command_data + _COMMAND_OVERHEAD, model.max_response_data + 2
        )
        self.descriptors = _descriptors(model, self._largest)
        self.power_cut = power_cut
        self._wake: Callable[[], None] = lambda: None
        self._incoming = bytearray()
        self._packets: deque[bytes] = deque()

    def attach(self, wake: Callable[[], None]) -> None:
        """Take the bus's alarm clock."""
        self._wake = wake

    def reset(self) -> None:
        """Start anew; the card loses its power."""
        self._incoming.clear()
        self._packets.clear()
        self._reader.reset()

    def insert_card(self) -> None:
        """Put the card in; from any thread."""
        self._reader.insert()
        self._wake()

    def remove_card(self) -> None:
        """Pull the card out; from any thread."""
        self._reader.remove()
        self._wake()

    def control(self, setup: Setup, data: bytes) -> bytes:
        """Take ABORT.

        Raises:
            Stall: any other request.
        """
        if data or (setup.request_type, setup.request) != _ABORT_REQUEST:
            raise Stall
        self._packets.clear()
        self._reader.abort(setup.value >> 8)
        return b""

    def receive(self, endpoint: int, data: bytes) -> None:
        """Gather packets until a message is whole.

        Raises:
            Stall: its length is beyond what fits.
        """
        self._incoming += data
        if len(self._incoming) >= HEADER and announced_length(self._incoming) > self._largest:
            self._incoming.clear()
            raise Stall
        if self._is_whole(len(data)):
            message = bytes(self._incoming)
            self._incoming.clear()
            self._handle(message)

    def send(self, endpoint: int) -> bytes | None:
        """Give the next packet of an answer, or of a notice.

        Raises:
            Stall: a fault asked for it.
        """
        if endpoint & 0x0F == INTERRUPT_IN & 0x0F:
            return self._reader.notices.popleft() if self._reader.notices else None
        if self._reader.halts:
            self._reader.halts = False
            raise Stall
        if not self._packets:
            self._cut(self._reader.next_answer())
        return self._packets.popleft() if self._packets else None

    def _is_whole(self, last: int) -> bool:
        if len(self._incoming) < HEADER:
            if last < _PACKET:  # no header fits in what is left: not a message
                self._incoming.clear()
            return False
        return last < _PACKET or len(self._incoming) >= announced_length(self._incoming)

    def _handle(self, message: bytes) -> None:
        try:
            self._reader.handle(message)
        except PowerCut:
            self.reset()
            self.power_cut()

    def _cut(self, answer: bytes | None) -> None:
        if answer is not None:
            # A packet below the full size, if need be an empty one, ends the host's read.
            starts = range(0, len(answer) + 1, _PACKET)
            self._packets.extend(answer[start : start + _PACKET] for start in starts)


def _descriptors(model: Model, largest: int) -> UsbDescriptors:
    endpoints = [
        usb.endpoint(BULK_OUT, usb.BULK, _PACKET),
        usb.endpoint(BULK_IN, usb.BULK, _PACKET),
        usb.endpoint(INTERRUPT_IN, usb.INTERRUPT, _NOTICE_PACKET, interval=_NOTICE_INTERVAL),
    ]
    reader = usb.interface(0, _CLASS, endpoints, extra=_class_descriptor(largest))
    strings = {1: model.vendor, 2: f"QKD key token ({model.name})", 3: model.serial_number}
    device = usb.device(_TEST_VENDOR, _TEST_PRODUCT)
    return UsbDescriptors(device, usb.configuration(reader), strings)


def _class_descriptor(largest: int) -> bytes:
    """CCID 1.1, table 5.1-1."""
    head = struct.pack("<BBHBB", 54, 0x21, 0x0110, 0, 7)
    clock = struct.pack("<IIIB", _T1, _CLOCK_KHZ, _CLOCK_KHZ, 0)
    rate = struct.pack("<IIBI", _BITS_PER_SECOND, _BITS_PER_SECOND, 0, _IFSD)
    features = struct.pack("<IIII", 0, 0, _FEATURES, largest)
    return head + clock + rate + features + struct.pack("<BBHBB", 0xFF, 0xFF, 0, 0, 1)
