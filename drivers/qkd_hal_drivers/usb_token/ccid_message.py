"""CCID messages on bulk endpoints: USB-IF's CCID 1.1 as ``docs/key-token.md`` uses it. No I/O."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from qkd_hal.errors import ProtocolError, UnsupportedError
from qkd_hal.keys import wipe

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "HEADER_BYTES",
    "CardState",
    "Kind",
    "Message",
    "MessageCollector",
    "Outcome",
    "message",
    "message_limit",
]

HEADER_BYTES: Final = 10
_HEADER: Final = struct.Struct("<BIBBBB")  # type, length, slot, sequence, status, error
_COMMAND: Final = struct.Struct("<BIBB3x")
_CLASS_DESCRIPTOR: Final = 0x21
_CLASS_DESCRIPTOR_BYTES: Final = 54
_FEATURES_AT, _LONGEST_AT = 40, 44
_APDU_LEVELS: Final = 0x0006_0000  # short APDU, or short and extended
_LEAST_MESSAGE: Final = HEADER_BYTES + 5 + 255 + 1  # a short APDU
_MOST_MESSAGE: Final = HEADER_BYTES + 9 + 65535  # an extended APDU with all the data it can have


class Kind(IntEnum):
    """Types of messages."""

    POWER_ON = 0x62
    POWER_OFF = 0x63
    GET_SLOT_STATUS = 0x65
    TRANSFER = 0x6F
    ABORT = 0x72
    DATA = 0x80
    SLOT_STATUS = 0x81


class CardState(IntEnum):
    """Bits 0 and 1 of ``bStatus``."""

    ACTIVE = 0
    INACTIVE = 1
    ABSENT = 2


class Outcome(IntEnum):
    """Bits 6 and 7 of ``bStatus``."""

    DONE = 0
    FAILED = 1
    MORE_TIME = 2


@dataclass(frozen=True, slots=True)
class Message:
    """What a token sent."""

    kind: int
    sequence: int
    status: int
    error: int
    data: bytearray = field(repr=False)

    @property
    def card(self) -> int:
        """A `CardState`, or what no page knows."""
        return self.status & 0x03

    @property
    def outcome(self) -> int:
        """An `Outcome`, or what no page knows."""
        return self.status >> 6


def message(kind: Kind, sequence: int, data: bytes | bytearray = b"") -> bytearray:
    """Return a message to slot 0."""
    return bytearray(_COMMAND.pack(kind, len(data), 0, sequence)) + data


def message_limit(extra: Iterable[int]) -> int:
    """Return the longest message that the class descriptor among *extra* allows, in bytes.

    Raises:
        ProtocolError: there is none, or it allows too little.
        UnsupportedError: the device is a reader that takes no whole APDUs.
    """
    descriptor = _class_descriptor(bytes(extra))
    features, longest = (
        int.from_bytes(descriptor[at : at + 4], "little") for at in (_FEATURES_AT, _LONGEST_AT)
    )
    if not features & _APDU_LEVELS:
        cure = "Open it through the PC/SC service: token+pcsc:///READER"
        raise UnsupportedError("this reader speaks TPDUs, not APDUs", cure=cure)
    if longest < _LEAST_MESSAGE:
        raise ProtocolError("its CCID messages are too short for an APDU")
    return min(longest, _MOST_MESSAGE)


def _class_descriptor(extra: bytes) -> bytes:
    while len(extra) >= 2 and extra[0] >= 2:
        descriptor, extra = extra[: extra[0]], extra[extra[0] :]
        if descriptor[1] == _CLASS_DESCRIPTOR and len(descriptor) == _CLASS_DESCRIPTOR_BYTES:
            return descriptor
    raise ProtocolError("its CCID class descriptor is missing")


class MessageCollector:
    """Puts the parts of a message together: *packet* is ``wMaxPacketSize``, *longest* in bytes.

    ``dwLength`` says where a message ends; a short packet, or an empty one, has to come there
    and nowhere else. A read that ends with a full packet may only have run out of time.
    """

    def __init__(self, packet: int, longest: int) -> None:
        self._packet = packet
        self._longest = longest
        self._parts = bytearray()

    def add(self, data: memoryview) -> Message | None:
        """Take the bytes of one read; return the message that they complete.

        Raises:
            ProtocolError: they make none; the collector is empty again.
        """
        self._parts += data
        if not self._parts:
            return None  # the empty packet behind a message that filled its last one
        short = len(data) % self._packet != 0 or not data
        if not short and len(self._parts) < self._needed():
            return None
        return self._taken()

    def clear(self) -> None:
        """Forget a message that will not be finished."""
        wipe(self._parts)
        self._parts = bytearray()

    def _needed(self) -> int:
        if len(self._parts) < HEADER_BYTES:
            return HEADER_BYTES
        return min(HEADER_BYTES + int.from_bytes(self._parts[1:5], "little"), self._longest)

    def _taken(self) -> Message:
        parts, self._parts = self._parts, bytearray()
        if len(parts) < HEADER_BYTES:
            raise ProtocolError("the token sent less than a CCID header")
        kind, length, slot, sequence, status, error = _HEADER.unpack_from(parts)
        data = parts[HEADER_BYTES:]
        wipe(parts)
        if length != len(data) or slot:
            wipe(data)
            raise ProtocolError("the token sent a CCID message of another length than it says")
        return Message(kind, sequence, status, error, data)
