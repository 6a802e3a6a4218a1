"""From a token's status word to our error tree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qkd_hal.errors import (
    DeviceError,
    DevicePermissionError,
    KeyNotFoundError,
    KeysExhaustedError,
    ProtocolError,
    QKDError,
    UsageError,
)

if TYPE_CHECKING:
    from qkd_hal.keys import KeyId
    from qkd_hal_drivers.usb_token.apdu import Command

__all__ = [
    "BLANK",
    "BLOCKED",
    "DONE",
    "NEEDS_PIN",
    "NOT_SELECTED",
    "NO_SUCH_APPLICATION",
    "refusal",
    "tries_left",
]

DONE: Final = 0x9000
NEEDS_PIN: Final = 0x6982
BLOCKED: Final = 0x6983
BLANK: Final = 0x6984
NOT_SELECTED: Final = 0x6999
NO_SUCH_APPLICATION: Final = 0x6A82
_NOT_ALLOWED: Final = 0x6985
_TRIES: Final = 0x63C0

_ERRORS: Final[dict[int, tuple[type[QKDError], str, str | None]]] = {
    0x6581: (DeviceError, "the token's memory failed", "Replace the token"),
    NEEDS_PIN: (DevicePermissionError, "the token wants its PIN", "Run: qkd-hal token verify"),
    BLOCKED: (
        DevicePermissionError,
        "the token's PIN is blocked",
        "Run: qkd-hal token unblock, with the PUK",
    ),
    BLANK: (DeviceError, "the token is blank", "Run: qkd-hal token init"),
    NOT_SELECTED: (DeviceError, "the token resets again and again", "Check plug and power"),
    0x6A83: (KeysExhaustedError, "the token has too few own keys of this size", "Fill it again"),
    0x6A84: (DeviceError, "the token is full", "Use up or erase keys, or use another token"),
    0x6A88: (KeyNotFoundError, "the token has no such key", None),
    0x6A89: (UsageError, "the token holds or held a key with this ID", None),
    NO_SUCH_APPLICATION: (
        DeviceError,
        "the card has no key applet",
        "Check that it is a key token: docs/key-token.md",
    ),
}
_NOT_ALLOWED_BY: Final[dict[str, tuple[type[QKDError], str, str | None]]] = {
    "FETCH": (KeyNotFoundError, "the key was claimed by another host, or is gone", None),
    "CONFIRM": (KeyNotFoundError, "another host took the key over", None),
    "LOAD KEY": (
        DeviceError,
        "the token holds keys of another provenance",
        "Use one token for each provenance, or erase this one",
    ),
}


def tries_left(word: int) -> int | None:
    """Return how many tries of a PIN or PUK are left, where *word* tells."""
    return word & 0x0F if word & 0xFFF0 == _TRIES else None


def refusal(word: int, command: Command, device: str, key_id: KeyId | None = None) -> QKDError:
    """Return the error for *word*, with which a token refused *command*."""
    tries = tries_left(word)
    if tries is not None:
        return _wrong_secret(tries, command, device)
    known = _NOT_ALLOWED_BY.get(command.name) if word == _NOT_ALLOWED else _ERRORS.get(word)
    if known is None:
        what = f"the token refuses {command.name} with {word:04X}"
        return ProtocolError(what, device=device, key_id=key_id)
    kind, what, cure = known
    return kind(what, device=device, key_id=key_id, cure=cure)


def _wrong_secret(tries: int, command: Command, device: str) -> QKDError:
    name = "PUK" if command.name == "RESET RETRY COUNTER" else "PIN"
    what = f"the {name} is wrong; {tries} tries are left"
    cure = "Check it before the next try: the token locks when none is left"
    return DevicePermissionError(what, device=device, cure=cure)
