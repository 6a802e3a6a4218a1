"""Command and answer APDUs of ISO/IEC 7816-4: short, extended and chained. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from qkd_hal.errors import ProtocolError

__all__ = ["SHORT_DATA", "Command", "get_response", "split_answer"]

SHORT_DATA: Final = 255  # bytes of data in a short command
_SHORT_ANSWER: Final = 256
_EXTENDED_ANSWER: Final = 65536
_CHAINED: Final = 0x10  # bit of the class: more parts follow


@dataclass(frozen=True, slots=True)
class Command:
    """One command. *head* is CLA, INS, P1, P2; *answer* the most bytes that it may answer.

    ``repeatable``: doing it twice is the same as doing it once, so that it may be sent again
    when its answer was lost.
    """

    name: str
    head: tuple[int, int, int, int]
    data: bytes | bytearray = field(default=b"", repr=False)
    answer: int = 0
    repeatable: bool = True

    def apdus(self, longest: int) -> list[bytearray]:
        """Return the APDUs, each with at most *longest* bytes of data: more are chained."""
        starts = range(0, len(self.data), longest) or range(1)
        with memoryview(self.data) as data:
            return [self._apdu(data[at : at + longest], longest, at) for at in starts]

    def _apdu(self, data: memoryview, longest: int, at: int) -> bytearray:
        last = at + len(data) == len(self.data)
        first, *others = self.head
        apdu = bytearray([first if last else first | _CHAINED, *others])
        answer = self.answer if last else 0
        if longest <= SHORT_DATA:
            answer = min(answer, _SHORT_ANSWER)
        extended = len(data) > SHORT_DATA or answer > _SHORT_ANSWER
        return apdu + (_extended if extended else _short)(data, answer)


def get_response(left: int) -> bytes:
    """Return the command for the next part of an answer, of which *left* bytes wait."""
    return bytes([0x00, 0xC0, 0x00, 0x00, left % _SHORT_ANSWER])


def split_answer(raw: bytearray) -> tuple[memoryview, int]:
    """Return data and status word.

    Raises:
        ProtocolError: there is no status word.
    """
    if len(raw) < 2:
        raise ProtocolError("the token answered without a status word")
    return memoryview(raw)[:-2], int.from_bytes(raw[-2:], "big")


def _short(data: memoryview, answer: int) -> bytearray:
    body = bytearray([len(data)]) + data if data else bytearray()
    if answer:
        body.append(answer % _SHORT_ANSWER)
    return body


def _extended(data: memoryview, answer: int) -> bytearray:
    body = bytearray(1)
    if data:
        body += len(data).to_bytes(2, "big")
        body += data
    if answer:
        body += (min(answer, _EXTENDED_ANSWER) % _EXTENDED_ANSWER).to_bytes(2, "big")
    return body
