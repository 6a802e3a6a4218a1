"""From what a PKCS#11 module returns to our error tree, with the token named and a cure."""

from __future__ import annotations

import pkcs11

from qkd_hal.errors import (
    DeviceBusyError,
    DeviceError,
    DeviceLostError,
    DevicePermissionError,
    UnsupportedError,
)

__all__ = ["GONE", "PIN_REFUSED", "is_loss", "translated"]

GONE = (pkcs11.ObjectHandleInvalid, pkcs11.KeyHandleInvalid)
"""The object is not there any more."""

_LOST = (
    pkcs11.DeviceRemoved,
    pkcs11.DeviceError,
    pkcs11.TokenNotPresent,
    pkcs11.TokenNotRecognised,
    pkcs11.SessionHandleInvalid,
    pkcs11.SessionClosed,
    pkcs11.UserNotLoggedIn,
    pkcs11.SlotIDInvalid,
)
PIN_REFUSED = (pkcs11.PinIncorrect, pkcs11.PinInvalid, pkcs11.PinLenRange)
"""The PIN that was sent is wrong."""

_WRITE = "Remove the write protection: a key that cannot be erased is not handed out"
_PIN_CURE = "Correct the PIN, then log in once with the token's own tool, which resets the count"
_TABLE: tuple[tuple[tuple[type[pkcs11.PKCS11Error], ...], type[DeviceError], str, str], ...] = (
    (_LOST, DeviceLostError, "the token went away", "Insert it, then call init() to open it again"),
    (
        (pkcs11.PinLocked,),
        DevicePermissionError,
        "the PIN of the token is locked",
        "Let its security officer set a new PIN",
    ),
    (
        PIN_REFUSED,
        DevicePermissionError,
        "the token refuses the PIN, which is not sent again",
        _PIN_CURE,
    ),
    (
        (pkcs11.PinExpired, pkcs11.UserPinNotInitialized),
        DevicePermissionError,
        "the token has no valid PIN",
        "Set one with the token's own tool",
    ),
    (
        (pkcs11.SessionCount,),
        DeviceBusyError,
        "the token has no session left",
        "Close other programs that use it",
    ),
    (
        (pkcs11.AnotherUserAlreadyLoggedIn,),
        DeviceBusyError,
        "the security officer is logged in to the token",
        "Log out there first",
    ),
    (
        (pkcs11.TokenWriteProtected, pkcs11.SessionReadOnly),
        DevicePermissionError,
        "the token is write-protected",
        _WRITE,
    ),
    ((pkcs11.DeviceMemory,), DeviceError, "the token is full", "Erase keys, or use another token"),
    (
        (pkcs11.FunctionNotSupported, pkcs11.MechanismInvalid),
        UnsupportedError,
        "the token's module lacks what this needs",
        "See docs/pkcs11.md for what a module must offer",
    ),
)


def is_loss(error: pkcs11.PKCS11Error) -> bool:
    """Tell whether the token, or our session on it, is not there any more."""
    # python-pkcs11 has no class for a module that somebody finalised under us.
    return isinstance(error, _LOST) or "not initialized" in str(error)


def translated(error: pkcs11.PKCS11Error, doing: str, device: str) -> DeviceError:
    """Return *error*, which came while *doing*, in our tree; never its text, only its name."""
    name = type(error).__name__
    for kinds, ours, what, cure in _TABLE:
        if isinstance(error, kinds) or (kinds is _LOST and is_loss(error)):
            return ours(f"{what} ({name} while {doing})", device=device, cure=cure)
    return DeviceError(f"the token's module failed with {name} while {doing}", device=device)
