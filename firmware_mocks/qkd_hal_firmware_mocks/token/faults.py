"""What can go wrong with a token; when, is up to a plan (`qkd_hal_firmware_mocks.faults`)."""

from __future__ import annotations

from enum import Enum

__all__ = ["CARD_FAULTS", "LINK_FAULTS", "Fault", "PowerCut", "operation_of"]


class Fault(Enum):
    """One misbehaviour; the text is its name in a plan."""

    CUT_BEFORE = "cut-before"  # the power goes before the command is done
    CUT_AFTER = "cut-after"  # it is done, the power goes before its answer
    BROWN_OUT = "brown-out"  # the power goes before a CONFIRM; other commands are well
    RESET = "reset"  # the card resets in silence: selection and PIN are lost
    SHORT_DATA = "short-data"  # the answer's last byte of data is missing, status "done"
    LONG_DATA = "long-data"  # a byte too many
    NO_DATA = "no-data"  # "done", and not a byte
    NO_STATUS = "no-status"  # an answer of one byte
    UNKNOWN_STATUS = "unknown-status"  # a status word of the future
    FALSE_SUCCESS = "false-success"  # "done" without doing it
    FALSE_NEEDS_PIN = "false-needs-pin"  # although verified
    WRONG_PIN = "wrong-pin"  # two tries are left, says the token, although the PIN was right
    BLOCKED = "blocked"  # the PIN is blocked, says the token
    NONE_LEFT = "none-left"  # no own key is left, says the token
    STORE_FULL = "store-full"
    MEDIUM_FAILED = "medium-failed"
    ENDLESS = "endless"  # "more of the answer waits", and nothing comes

    SLOW = "slow"  # asks for more time, three times
    TIME_STORM = "time-storm"  # asks for more time until aborted
    STALL = "stall"  # takes the command, does nothing and never answers
    DROP = "drop"  # does it, and the answer is lost
    LATE = "late"  # the answer comes before that of the next command
    DUPLICATE = "duplicate"  # the answer comes twice
    WRONG_SEQUENCE = "wrong-sequence"  # an answer to another command
    WRONG_TYPE = "wrong-type"  # a message of another type
    LIE = "lie"  # dwLength says more than comes
    HUGE_LENGTH = "huge-length"  # dwLength says four gigabytes
    HARDWARE_ERROR = "hardware-error"  # the reader failed to reach the card
    CARD_GONE = "card-gone"  # the card is pulled out and put back
    HALT = "halt"  # bulk IN halts instead of an answer


_ALL = list(Fault)
CARD_FAULTS = frozenset(_ALL[: _ALL.index(Fault.SLOW)])
"""What an applet can do, however it is reached."""
LINK_FAULTS = frozenset(Fault) - CARD_FAULTS
"""What only a CCID reader can do."""

_OPERATIONS = {
    0x02: "STATUS",
    0x10: "INITIALISE",
    0x12: "LOAD",
    0x14: "LIST",
    0x16: "RESERVE",
    0x18: "FIND",
    0x1A: "FETCH",
    0x1C: "CONFIRM",
    0x1E: "ERASE",
    0x20: "VERIFY",
    0x24: "CHANGE-PIN",
    0x2C: "RESET-RETRY",
    0xA4: "SELECT",
    0xC0: "GET-RESPONSE",
}


class PowerCut(Exception):  # noqa: N818 - not an error of ours: the plan asked for it
    """The power of the token is gone in this moment."""


def operation_of(apdu: bytes) -> str:
    """Return what a plan calls this command."""
    return _OPERATIONS.get(int.from_bytes(apdu[1:2], "big"), "?")
