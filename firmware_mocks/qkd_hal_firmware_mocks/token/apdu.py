"""Command APDUs and status words of ISO/IEC 7816-4, as ``docs/key-token.md`` uses them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

__all__ = ["Command", "Refusal", "Status", "parse_command"]

_CHAINED = 0x10
_SECURE = 0x0C
_CHANNEL = 0x03
_FURTHER_CHANNELS = 0x40


class Status(IntEnum):
    """SW1-SW2."""

    DONE = 0x9000
    MORE = 0x6100
    TRIES_LEFT = 0x63C0
    MEDIUM_FAILED = 0x6581
    WRONG_LENGTH = 0x6700
    NO_CHANNELS = 0x6881
    NO_SECURE_MESSAGING = 0x6882
    NO_CHAINING = 0x6884
    NEEDS_PIN = 0x6982
    BLOCKED = 0x6983
    NO_PIN_SET = 0x6984
    NOT_ALLOWED = 0x6985
    NOT_SELECTED = 0x6999
    WRONG_DATA = 0x6A80
    NO_APPLICATION = 0x6A82
    NONE_LEFT = 0x6A83
    FULL = 0x6A84
    WRONG_P1P2 = 0x6A86
    NOT_FOUND = 0x6A88
    EXISTS = 0x6A89
    NO_INSTRUCTION = 0x6D00
    NO_CLASS = 0x6E00


class Refusal(Exception):  # noqa: N818 - a status word, not always an error
    """The command ends with this status word and no data."""

    def __init__(self, status: int) -> None:
        super().__init__(f"{status:04X}")
        self.status = status


@dataclass(frozen=True, slots=True)
class Command:
    """A command APDU; ``expected`` is Ne, the most bytes that the host takes at once."""

    cla: int
    ins: int
    p1: int
    p2: int
    data: bytes
    expected: int

    @property
    def chained(self) -> bool:
        """Whether another part follows."""
        return bool(self.cla & _CHAINED)

    @property
    def name(self) -> tuple[int, int]:
        """Class without the chaining bit, and instruction."""
        return self.cla & ~_CHAINED, self.ins


def parse_command(apdu: bytes) -> Command:
    """Take *apdu* apart.

    Raises:
        Refusal: too short, a class that is not ours, or lengths that do not fit.
    """
    if len(apdu) < 4:
        raise Refusal(Status.WRONG_LENGTH)
    cla, ins, p1, p2 = apdu[:4]
    _check_class(cla)
    data, expected = _body(apdu[4:])
    return Command(cla, ins, p1, p2, data, expected)


def _check_class(cla: int) -> None:
    if cla & _FURTHER_CHANNELS:
        raise Refusal(Status.NO_CHANNELS)
    if cla & 0x20:
        raise Refusal(Status.NO_CLASS)
    if cla & _CHANNEL:
        raise Refusal(Status.NO_CHANNELS)
    if cla & _SECURE:
        raise Refusal(Status.NO_SECURE_MESSAGING)


def _body(body: bytes) -> tuple[bytes, int]:
    if not body:
        return b"", 0
    if len(body) == 1:
        return b"", body[0] or 256
    if body[0]:
        return _split(body[1:], body[0], le_size=1)
    if len(body) < 3:
        raise Refusal(Status.WRONG_LENGTH)
    number = int.from_bytes(body[1:3], "big")
    if len(body) == 3:
        return b"", number or 65536
    return _split(body[3:], number, le_size=2)


def _split(rest: bytes, size: int, *, le_size: int) -> tuple[bytes, int]:
    data, le = rest[:size], rest[size:]
    if not size or len(data) < size or len(le) not in (0, le_size):
        raise Refusal(Status.WRONG_LENGTH)
    return data, (int.from_bytes(le, "big") or 256**le_size) if le else 0
