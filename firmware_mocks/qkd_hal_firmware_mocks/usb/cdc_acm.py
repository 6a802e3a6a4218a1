"""A USB serial port around any firmware that speaks a stream of bytes (CDC PSTN 1.2, ACM).

On Linux it is ``/dev/ttyACM…``. The port's settings have no effect on the bytes; they are
recorded as the host sends them.
"""

from __future__ import annotations

import struct
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qkd_hal_firmware_mocks.usb import descriptors
from qkd_hal_firmware_mocks.usb.function import Stall, UsbDescriptors

if TYPE_CHECKING:
    from collections.abc import Callable

    from qkd_hal_firmware_mocks.stream import ByteStream
    from qkd_hal_firmware_mocks.usb.function import Setup

__all__ = ["CdcAcm", "LineCoding"]

_OUT, _IN, _NOTIFY = 0x01, 0x81, 0x82
_PACKET = 512
_TO_INTERFACE, _FROM_INTERFACE = 0x21, 0xA1
_SET_LINE_CODING, _GET_LINE_CODING, _SET_LINES, _SEND_BREAK = 0x20, 0x21, 0x22, 0x23
_DTR, _RTS = 1, 2
_CODING = struct.Struct("<IBBB")
_MAX_WAITING = 1 << 20
"""Bytes for a host that does not read; a UART, too, loses what nobody fetches."""


@dataclass(frozen=True, slots=True)
class LineCoding:
    """The port's settings: *stop_bits* 0, 1, 2 for 1, 1.5, 2; *parity* 0 to 4 for none, odd,
    even, mark, space."""

    baud: int = 9600
    stop_bits: int = 0
    parity: int = 0
    data_bits: int = 8


class CdcAcm:
    """*stream* as a USB serial port; its name is the interface's string.

    ``line_coding``, ``dtr``, ``rts`` and ``breaks`` (milliseconds of each) are what the host
    has asked for. The stream is attached anew when DTR rises, and hung up when it falls, on a
    break and on a reset.
    """

    def __init__(
        self,
        stream: ByteStream,
        *,
        vendor: int = 0x1209,
        product: int = 0x0002,
        names: tuple[str, str, str] = ("qkd-hal", "serial box", "ACM-1"),
        interface: str = "serial",
    ) -> None:
        self.line_coding = LineCoding()
        self.dtr = False
        self.rts = False
        self.breaks: list[int] = []
        self._stream = stream
        self._wake: Callable[[], None] = lambda: None
        self._waiting = bytearray()
        self._lock = threading.Lock()
        strings = dict(enumerate((*names, interface), 1))
        device = descriptors.device(vendor, product, triple=(0xEF, 2, 1))
        self.descriptors = UsbDescriptors(device, _configuration(), strings)

    def attach(self, wake: Callable[[], None]) -> None:
        """Take the bus's *wake*."""
        self._wake = wake
        self._stream.attach(self._send)

    def reset(self) -> None:
        """Close the port."""
        self.dtr = self.rts = False
        self._hang_up()

    def control(self, setup: Setup, data: bytes) -> bytes:
        """Do a request of ACM (PSTN 1.2, table 13)."""
        request = (setup.request_type, setup.request)
        if request == (_FROM_INTERFACE, _GET_LINE_CODING):
            coding = self.line_coding
            return _CODING.pack(coding.baud, coding.stop_bits, coding.parity, coding.data_bits)
        if request == (_TO_INTERFACE, _SET_LINE_CODING) and len(data) == _CODING.size:
            self.line_coding = LineCoding(*_CODING.unpack(data))
        elif request == (_TO_INTERFACE, _SET_LINES):
            self._set_lines(setup.value)
        elif request == (_TO_INTERFACE, _SEND_BREAK):
            self._break(setup.value)
        else:
            raise Stall
        return b""

    def receive(self, endpoint: int, data: bytes) -> None:
        """Feed the stream."""
        if data:
            self._stream.feed(data)

    def send(self, endpoint: int) -> bytes | None:
        """Give what the stream sent; nothing is ever notified."""
        if endpoint == _NOTIFY:
            return None
        with self._lock:
            packet = bytes(self._waiting[:_PACKET])
            del self._waiting[:_PACKET]
        return packet or None

    def _set_lines(self, value: int) -> None:
        before, self.dtr = self.dtr, bool(value & _DTR)
        self.rts = bool(value & _RTS)
        if before and not self.dtr:
            self._hang_up()
        if self.dtr and not before:
            self._stream.attach(self._send)

    def _break(self, milliseconds: int) -> None:
        if milliseconds:  # 0 ends one that was to last until then
            self.breaks.append(milliseconds)
            self._hang_up()

    def _hang_up(self) -> None:
        self._stream.hang_up()
        with self._lock:
            self._waiting.clear()

    def _send(self, data: bytes) -> None:
        with self._lock:
            self._waiting += data[: _MAX_WAITING - len(self._waiting)]
        self._wake()


def _configuration() -> bytes:
    functional = bytes.fromhex("05240010010424020605240600010524010001")
    association = bytes([8, 11, 0, 2, 2, 2, 0, 4])
    notify = descriptors.endpoint(_NOTIFY, descriptors.INTERRUPT, 16, interval=9)
    data = [
        descriptors.endpoint(_OUT, descriptors.BULK, _PACKET),
        descriptors.endpoint(_IN, descriptors.BULK, _PACKET),
    ]
    return descriptors.configuration(
        descriptors.interface(0, (2, 2, 0), [notify], string=4, extra=functional),
        descriptors.interface(1, (0x0A, 0, 0), data, string=4),
        prefix=association,
    )
