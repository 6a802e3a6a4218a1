"""What a box answers when it cannot do as asked (``docs/boxlink.md``, section 7.3)."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["BoxError", "Code"]


class Code(IntEnum):
    """Error codes of the wire."""

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


class BoxError(Exception):
    """Becomes an ERR; *fields* are its optional ones."""

    def __init__(self, code: Code, text: str, **fields: int) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.fields = fields
