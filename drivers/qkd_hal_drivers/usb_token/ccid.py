"""The card over CCID on bulk endpoints: one message out, one back, by number."""

from __future__ import annotations

import array
import errno
import math
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import usb.core
import usb.util

from qkd_hal.errors import (
    DeadlineError,
    DeviceBusyError,
    DeviceClosedError,
    DeviceLostError,
    DeviceNotFoundError,
    ProtocolError,
    QKDError,
)
from qkd_hal.keys import wipe
from qkd_hal.sources import Deadline
from qkd_hal_drivers import _usb
from qkd_hal_drivers.usb_token.apdu import SHORT_DATA
from qkd_hal_drivers.usb_token.ccid_message import (
    HEADER_BYTES,
    CardState,
    Kind,
    Message,
    MessageCollector,
    Outcome,
    message,
    message_limit,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CcidLink"]

_CLASS: Final = 0x0B
_ABORT_REQUEST: Final = (0x21, 0x01)
_EXTENDED_OVERHEAD: Final = 9  # an extended APDU beside its data
_SLICE: Final = 0.1  # seconds that close() and Ctrl-C wait for a transfer at most
_POWER_OFF_SECONDS: Final = 0.3


class CcidLink:
    """A `CardLink` to the CCID device with *ids* and, unless empty, *serial_number*."""

    shared = False

    def __init__(self, ids: tuple[int, int], serial_number: str, name: str) -> None:
        self.name = name
        self._ids = ids
        self._serial_number = serial_number
        self._busy = threading.Lock()  # held by whoever moves bytes
        self._closing = threading.Lock()
        self._closed = False
        self._parting = False  # the one command that close() itself sends
        self._found: Any = None
        self._sequence = 0
        self._unanswered = False

    @property
    def longest(self) -> int:
        """Bytes of data in one command."""
        room = self._limit - HEADER_BYTES - _EXTENDED_OVERHEAD
        return room if room > SHORT_DATA else SHORT_DATA

    def open(self, deadline: Deadline) -> None:
        """Find the device, claim its interface and power the card."""
        with self._busy:
            self._require_open()
            self._found = _usb.find(self._ids, self._serial_number, device=self.name)
            try:
                with _usb.errors(self.name), self._named():
                    self._claim(_usb.configure(self._found))
            except BaseException:
                self._release()
                raise
        with self.turn(deadline):
            self._power_on(deadline)

    @contextmanager
    def turn(self, deadline: Deadline) -> Iterator[None]:
        """A claimed interface is nobody else's."""
        with self._busy:
            self._require_open()
            yield

    def transmit(self, apdu: bytes | bytearray, deadline: Deadline) -> bytearray:
        """Send a command APDU and return its answer."""
        return self._asked(Kind.TRANSFER, apdu, deadline).data

    def recover(self, deadline: Deadline) -> None:
        """End a command that has no answer yet, and power the card if it lost its power."""
        self._collector.clear()
        state = self._aborted(deadline) if self._unanswered else self._slot_state(deadline)
        if state == CardState.ABSENT:
            raise DeviceLostError("the card was pulled out", device=self.name, cure="Put it back")
        if state != CardState.ACTIVE:
            self._power_on(deadline)

    def close(self) -> None:
        """Wake whoever waits, cut the card's power, and release the device; idempotent."""
        with self._closing:
            if not self._closed:
                self._closed = True
                with self._busy:
                    if self._found is not None:
                        self._power_off()
                        self._release()

    def _claim(self, configuration: Any) -> None:
        interface = _ccid_interface(configuration)
        self._number: int = interface.bInterfaceNumber
        self._limit = message_limit(interface.extra_descriptors)
        self._out, self._into = _bulk_endpoints(interface)
        packet: int = self._into.wMaxPacketSize
        self._collector = MessageCollector(packet, self._limit)
        # One packet more than the longest message, so that a longer one is seen to be longer.
        size = (self._limit // packet + 1) * packet
        self._buffer: array.array[int] = array.array("B", bytes(size))
        usb.util.claim_interface(self._found, self._number)

    def _release(self) -> None:
        usb.util.dispose_resources(self._found)
        self._found = None

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except usb.core.USBError as error:
            if error.errno != errno.EBUSY:
                raise
            what = "another program has the token, perhaps the PC/SC service"
            cure = "Open it through that service, token+pcsc:///READER, or end the program"
            raise DeviceBusyError(what, device=self.name, cure=cure) from None
        except QKDError as error:
            error.device = error.device or self.name
            raise

    def _power_on(self, deadline: Deadline) -> None:
        self._asked(Kind.POWER_ON, b"", deadline)

    def _power_off(self) -> None:
        """End what the token knows as verified; it may be gone, or deaf."""
        self._parting = True
        with suppress(QKDError):
            self._asked(Kind.POWER_OFF, b"", Deadline(_POWER_OFF_SECONDS))
        self._parting = False

    def _slot_state(self, deadline: Deadline) -> int:
        self._sequence = (self._sequence + 1) % 256
        self._send(message(Kind.GET_SLOT_STATUS, self._sequence), deadline)
        return self._answer(deadline, kinds=(Kind.SLOT_STATUS,)).card

    def _aborted(self, deadline: Deadline) -> int:
        """Have the token drop a command: by a request and a message of one number."""
        self._sequence = (self._sequence + 1) % 256
        with _usb.errors(self.name):
            kind, request = _ABORT_REQUEST
            milliseconds = self._milliseconds(deadline, 1.0)
            self._found.ctrl_transfer(
                kind, request, self._sequence << 8, self._number, None, milliseconds
            )
        self._send(message(Kind.ABORT, self._sequence), deadline)
        return self._answer(deadline, kinds=(Kind.SLOT_STATUS,)).card

    def _asked(self, kind: Kind, data: bytes | bytearray, deadline: Deadline) -> Message:
        if HEADER_BYTES + len(data) > self._limit:
            raise ProtocolError("the token takes no message of this length", device=self.name)
        self._sequence = (self._sequence + 1) % 256
        self._send(message(kind, self._sequence, data), deadline)
        answer = self._answer(deadline, kinds=(Kind.DATA, Kind.SLOT_STATUS))
        expected = Kind.SLOT_STATUS if kind is Kind.POWER_OFF else Kind.DATA
        if answer.outcome != Outcome.DONE or answer.kind != expected:
            what = f"the token's reader failed with {answer.status:02X} {answer.error:02X}"
            raise ProtocolError(what, device=self.name)
        return answer

    def _send(self, whole: bytearray, deadline: Deadline) -> None:
        self._unanswered = True
        rest = array.array("B", whole)
        wipe(whole)
        try:
            at = 0
            while at < len(rest):
                self._require_open()
                at += self._written(rest[at:] if at else rest, deadline)
        finally:
            wipe(memoryview(rest))

    def _written(self, data: array.array[int], deadline: Deadline) -> int:
        try:
            moved: int = self._found.write(self._out, data, self._milliseconds(deadline))
        except usb.core.USBTimeoutError:
            if deadline.expired:
                raise DeadlineError("the token takes no bytes", device=self.name) from None
            return 0
        except usb.core.USBError as error:
            raise self._failed(error) from None
        return moved

    def _answer(self, deadline: Deadline, *, kinds: tuple[Kind, ...]) -> Message:
        """Return the answer to the last command; drop what answers another."""
        while True:
            self._require_open()
            received = self._received(deadline)
            if received is None:
                if deadline.expired:
                    raise DeadlineError("the token does not answer", device=self.name)
                continue
            if received.sequence == self._sequence and received.outcome != Outcome.MORE_TIME:
                break
            deadline.check("waiting for the token", device=self.name)
        self._unanswered = False
        if received.kind not in kinds:
            raise ProtocolError("the token gave an answer of another kind", device=self.name)
        return received

    def _received(self, deadline: Deadline) -> Message | None:
        try:
            moved = self._found.read(self._into, self._buffer, self._milliseconds(deadline))
        except usb.core.USBTimeoutError:
            return None
        except usb.core.USBError as error:
            raise self._failed(error) from None
        with memoryview(self._buffer)[:moved] as data, self._named():
            try:
                return self._collector.add(data)
            finally:
                wipe(data)

    def _failed(self, error: usb.core.USBError) -> QKDError:
        if error.errno == errno.EPIPE:
            with _usb.errors(self.name):
                for endpoint in (self._out, self._into):
                    self._found.clear_halt(endpoint)
        return _usb.device_error(error, self.name)

    def _require_open(self) -> None:
        if self._closed and not self._parting:
            raise DeviceClosedError("the token was closed", device=self.name)

    @staticmethod
    def _milliseconds(deadline: Deadline, at_most: float = _SLICE) -> int:
        """For one transfer; never 0, which is libusb's word for ever."""
        return max(1, math.ceil((deadline.remaining(at_most) or 0) * 1000))


def _ccid_interface(configuration: Any) -> Any:
    for interface in configuration:
        if interface.bInterfaceClass == _CLASS:
            return interface
    raise DeviceNotFoundError("the device is no smart card: it has no CCID interface")


def _bulk_endpoints(interface: Any) -> tuple[Any, Any]:
    ends: dict[int, Any] = {}
    for endpoint in interface:
        if usb.util.endpoint_type(endpoint.bmAttributes) == usb.util.ENDPOINT_TYPE_BULK:
            ends.setdefault(usb.util.endpoint_direction(endpoint.bEndpointAddress), endpoint)
    try:
        out, into = ends[usb.util.ENDPOINT_OUT], ends[usb.util.ENDPOINT_IN]
    except KeyError:
        raise ProtocolError("its CCID interface lacks an endpoint") from None
    if not into.wMaxPacketSize:
        raise ProtocolError("its CCID endpoints have impossible sizes")
    return out, into
