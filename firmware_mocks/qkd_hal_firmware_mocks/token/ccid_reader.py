"""A CCID reader with one slot: messages in, messages out (CCID 1.1, chapter 6)."""

from __future__ import annotations

import struct
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qkd_hal_firmware_mocks.faults import FaultPlan
from qkd_hal_firmware_mocks.token.faults import LINK_FAULTS, Fault, operation_of
from qkd_hal_firmware_mocks.token.mischief import Mischief

if TYPE_CHECKING:
    from qkd_hal_firmware_mocks.token.applet import KeyApplet

__all__ = ["HEADER", "CcidReader", "announced_length"]

HEADER = 10

_POWER_ON, _POWER_OFF, _SLOT_STATUS = 0x62, 0x63, 0x65
_XFR_BLOCK, _ABORT = 0x6F, 0x72
_PARAMETERS = (0x6C, 0x61, 0x6D)  # get, set, reset: with everything automatic, all the same
_T1_PARAMETERS = bytes.fromhex("11 10 00 4D 00 FE 00")

_DATA_BLOCK, _STATUS, _PARAMETERS_ANSWER = 0x80, 0x81, 0x82
_ACTIVE, _INACTIVE, _ABSENT = 0, 1, 2
_FAILED, _MORE_TIME = 0x40, 0x80

_UNKNOWN_COMMAND = 0
_BAD_LENGTH, _BAD_SLOT, _BAD_LEVEL = 1, 5, 8  # the offset of the field
_CARD_MUTE, _ABORTED, _HARDWARE = 0xFE, 0xFF, 0xFB

_MULTIPLIER = 1  # of the usual wait, in a request for more time
_SLOW_STEPS = 3
_CAME, _WENT = b"\x50\x03", b"\x50\x02"


@dataclass(frozen=True, slots=True)
class _Message:
    kind: int
    slot: int
    sequence: int
    specific: bytes
    data: bytes


def announced_length(header: bytes | bytearray) -> int:
    """Bytes that the whole message has, by its ten bytes of *header*."""
    return HEADER + int(struct.unpack_from("<I", header, 1)[0])


class CcidReader:
    """Takes whole messages by :meth:`handle`; :meth:`next_answer` gives what to send back.

    ``notices`` are the messages of the interrupt endpoint; ``halts`` is set by a fault, and
    cleared by whoever halts the endpoint.
    """

    def __init__(self, applet: KeyApplet, plan: FaultPlan | None = None) -> None:
        self._card = Mischief(applet)
        self._atr = applet.atr
        self._plan = plan or FaultPlan()
        self.present = True
        self.reset()

    def reset(self) -> None:
        """Start anew, as after plugging in; the card loses its power."""
        self._powered = False
        self._answers: deque[bytes] = deque()
        self._late: bytes | None = None
        self._storm: bytes | None = None
        self.halts = False
        self._abort_asked: int | None = None  # by the control request
        self._abort_sent: int | None = None  # by the bulk message
        self.notices = deque([_CAME] if self.present else [], maxlen=2)

    def insert(self) -> None:
        """Put the card into the slot."""
        self.present = True
        self.notices.append(_CAME)

    def remove(self) -> None:
        """Pull the card out."""
        self.present = self._powered = False
        self.notices.append(_WENT)

    def next_answer(self) -> bytes | None:
        """Take the next message to the host, if there is one."""
        return self._answers.popleft() if self._answers else self._storm

    def abort(self, sequence: int) -> None:
        """Take the control request ABORT."""
        self._drop()
        self._abort_asked = sequence
        self._finish_abort()

    def handle(self, raw: bytes) -> None:
        """Take a message of at least ten bytes and answer it.

        Raises:
            PowerCut: a fault asked for it.
        """
        self._storm = None
        if self._late is not None:
            self._answers.append(self._late)
            self._late = None
        message = _Message(raw[0], raw[5], raw[6], raw[7:HEADER], raw[HEADER:])
        fault = _fault_in(raw, message)
        if fault is not None:
            self._fail(message, fault)
        elif message.kind == _ABORT:
            self._abort_sent = message.sequence
            self._finish_abort()
        elif (self._abort_asked, self._abort_sent) != (None, None):
            self._fail(message, _ABORTED)
        else:
            self._serve(message)

    def _serve(self, message: _Message) -> None:
        if message.kind == _XFR_BLOCK:
            self._exchange(message)
        elif message.kind == _POWER_ON:
            self._power_on(message)
        elif message.kind in (_POWER_OFF, _SLOT_STATUS):
            self._powered = self._powered and message.kind == _SLOT_STATUS
            self._say(message, _STATUS, self._card_state())
        elif message.kind in _PARAMETERS:
            self._say(message, _PARAMETERS_ANSWER, self._card_state(), last=1, data=_T1_PARAMETERS)
        else:
            self._fail(message, _UNKNOWN_COMMAND)

    def _power_on(self, message: _Message) -> None:
        if not self.present:
            return self._fail(message, _CARD_MUTE)
        self._card.reset()
        self._powered = True
        return self._say(message, _DATA_BLOCK, _ACTIVE, data=self._atr)

    def _exchange(self, message: _Message) -> None:
        if message.specific[1:] != b"\0\0":
            return self._fail(message, _BAD_LEVEL)
        name = self._plan.draw(operation_of(message.data))
        fault = Fault(name) if name else None
        if fault is Fault.CARD_GONE:
            self.remove()
            self.insert()
        if not self._powered:
            return self._fail(message, _CARD_MUTE)
        if fault is Fault.HARDWARE_ERROR:
            return self._fail(message, _HARDWARE)
        if fault is Fault.STALL:
            return None
        card_fault = None if fault in LINK_FAULTS else fault
        data = self._card.transmit(message.data, card_fault)
        return self._deliver(message, fault, _message(message, _DATA_BLOCK, _ACTIVE, data=data))

    def _deliver(self, message: _Message, fault: Fault | None, answer: bytes) -> None:
        more_time = _message(message, _DATA_BLOCK, _MORE_TIME, error=_MULTIPLIER)
        self.halts = fault is Fault.HALT
        if fault is Fault.TIME_STORM:
            self._storm = more_time
        elif fault is Fault.LATE:
            self._late = answer
        elif fault is Fault.SLOW:
            self._answers.extend([*[more_time] * _SLOW_STEPS, answer])
        elif fault is Fault.DUPLICATE:
            self._answers.extend([answer, answer])
        elif fault not in (Fault.DROP, Fault.HALT):
            self._answers.append(_spoilt(fault, answer))

    def _finish_abort(self) -> None:
        asked, sent = self._abort_asked, self._abort_sent
        if asked is None or asked != sent:
            return
        self._drop()
        self._abort_asked = self._abort_sent = None
        abort = _Message(_ABORT, 0, asked, b"", b"")
        self._say(abort, _STATUS, self._card_state())

    def _drop(self) -> None:
        self._answers.clear()
        self._storm = self._late = None

    def _card_state(self) -> int:
        if not self.present:
            return _ABSENT
        return _ACTIVE if self._powered else _INACTIVE

    def _fail(self, message: _Message, error: int) -> None:
        kind = _DATA_BLOCK if message.kind in (_XFR_BLOCK, _POWER_ON) else _STATUS
        self._say(message, kind, self._card_state() | _FAILED, error=error)

    def _say(
        self,
        message: _Message,
        kind: int,
        status: int,
        *,
        error: int = 0,
        last: int = 0,
        data: bytes = b"",
    ) -> None:
        self._answers.append(_message(message, kind, status, error=error, last=last, data=data))


def _fault_in(raw: bytes, message: _Message) -> int | None:
    if announced_length(raw) != len(raw):
        return _BAD_LENGTH
    return _BAD_SLOT if message.slot else None


def _message(
    asked: _Message, kind: int, status: int, *, error: int = 0, last: int = 0, data: bytes = b""
) -> bytes:
    head = (kind, len(data), asked.slot, asked.sequence, status, error, last)
    return struct.pack("<BIBBBBB", *head) + data


def _spoilt(fault: Fault | None, answer: bytes) -> bytes:
    if fault is Fault.WRONG_SEQUENCE:
        return answer[:6] + bytes([answer[6] ^ 1]) + answer[7:]
    if fault is Fault.WRONG_TYPE:
        return b"\x83" + answer[1:]
    if fault is Fault.LIE:
        return answer[:1] + struct.pack("<I", len(answer) - HEADER + 1) + answer[5:]
    if fault is Fault.HUGE_LENGTH:
        return answer[:1] + b"\xff\xff\xff\xff" + answer[5:]
    return answer
