"""What a box's ERR becomes in our tree: ``docs/boxlink.md``, section 7.3."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final

from qkd_hal.errors import (
    DeadlineError,
    DeviceBusyError,
    DeviceError,
    DeviceLostError,
    DevicePermissionError,
    KeyConsumedError,
    KeyMismatchError,
    KeyNotFoundError,
    KeysExhaustedError,
    ProtocolError,
    QKDError,
    StoreError,
    UnsupportedError,
    UsageError,
)

if TYPE_CHECKING:
    from qkd_hal_drivers.boxlink.messages import Failure

__all__ = ["ErrorCode", "error_of"]


class ErrorCode(IntEnum):
    """Codes of an ERR."""

    MALFORMED = 1
    UNKNOWN_OP = 2
    VERSION = 3
    NO_SESSION = 4
    REFUSED = 5
    BUSY = 6
    KEY_NOT_FOUND = 16
    KEYS_EXHAUSTED = 17
    KEY_CONSUMED = 18
    KEY_MISMATCH = 19
    UNKNOWN_PEER = 20
    TOO_LARGE = 21
    STORE_FULL = 22
    TIMEOUT = 23
    FAULT = 32
    LINK_DOWN = 33
    SHUTTING_DOWN = 34


_REPORT: Final = "Report a bug, with the box's firmware version"
_KINDS: Final[dict[int, tuple[type[QKDError], str, str | None]]] = {
    ErrorCode.MALFORMED: (ProtocolError, "the box calls a request malformed", _REPORT),
    ErrorCode.UNKNOWN_OP: (
        UnsupportedError,
        "the box does not have this operation",
        "Update its firmware",
    ),
    ErrorCode.VERSION: (
        ProtocolError,
        "the box speaks another version of boxlink than 1",
        "Update the older of the two, the box's firmware or qkd-hal",
    ),
    ErrorCode.NO_SESSION: (
        DeviceLostError,
        "the box was restarted or taken over by another host",
        "Call init() to open a new session",
    ),
    ErrorCode.REFUSED: (
        DevicePermissionError,
        "the box refuses this credential",
        "Name the file with the PSK of this very box",
    ),
    ErrorCode.BUSY: (DeviceBusyError, "the box stayed busy until the deadline", "Try again later"),
    ErrorCode.KEY_NOT_FOUND: (KeyNotFoundError, "the box has no such key from this peer", None),
    ErrorCode.KEYS_EXHAUSTED: (
        KeysExhaustedError,
        "the box has not enough key for this peer",
        "Wait for the link to make more",
    ),
    ErrorCode.KEY_CONSUMED: (KeyConsumedError, "the box erased these key bytes before", None),
    ErrorCode.KEY_MISMATCH: (
        KeyMismatchError,
        "the peer's box holds other bytes under this key ID",
        "Start a session with another key, and have both boxes checked",
    ),
    ErrorCode.UNKNOWN_PEER: (
        UsageError,
        "the box has no link to this peer",
        "Choose one of device.info.peers",
    ),
    ErrorCode.TOO_LARGE: (
        UsageError,
        "the box does not hold keys this long, or so many",
        "Ask for less; device.info.max_key_size is the longest",
    ),
    ErrorCode.STORE_FULL: (StoreError, "the box's key store is full", "Take keys out of it"),
    ErrorCode.TIMEOUT: (
        DeadlineError,
        "the peer's box did not answer this one",
        "Check the link between the boxes",
    ),
    ErrorCode.FAULT: (DeviceError, "the box reports a fault", "See its status and its manual"),
    ErrorCode.LINK_DOWN: (
        DeviceError,
        "the quantum link is down",
        "Check the fibre and the other box",
    ),
    ErrorCode.SHUTTING_DOWN: (
        DeviceLostError,
        "the box is shutting down",
        "Call init() when it is back",
    ),
}


def error_of(failure: Failure) -> QKDError:
    """Return the error that a box reports, with its own words.

    A code that this version does not know counts as a fault, and is shown.
    """
    kind, what, cure = _KINDS.get(failure.code) or _KINDS[ErrorCode.FAULT]
    unknown = "" if failure.code in _KINDS else f" with the unknown code {failure.code}"
    said = f'; it says "{failure.text}"' if failure.text else ""
    return kind(what + unknown + said, cure=cure)
