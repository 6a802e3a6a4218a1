"""From what the PC/SC service returns to our error tree."""

from __future__ import annotations

from typing import Final

from smartcard import scard

from qkd_hal.errors import (
    DeviceBusyError,
    DeviceError,
    DeviceLostError,
    DeviceNotFoundError,
    ProtocolError,
    QKDError,
)

__all__ = ["CARD_RESET", "absence", "failure", "gone"]

CARD_RESET: Final = scard.SCARD_W_RESET_CARD

_SERVICE: Final = "Run as root: systemctl start pcscd"
_NO_SERVICE: Final = frozenset({scard.SCARD_E_NO_SERVICE, scard.SCARD_E_SERVICE_STOPPED})
_NO_READER: Final = frozenset(
    {
        scard.SCARD_E_READER_UNAVAILABLE,
        scard.SCARD_E_UNKNOWN_READER,
        scard.SCARD_E_NO_READERS_AVAILABLE,
    }
)
_NO_CARD: Final = frozenset({scard.SCARD_W_REMOVED_CARD, scard.SCARD_E_NO_SMARTCARD})
_DEAF: Final = frozenset({scard.SCARD_W_UNRESPONSIVE_CARD, scard.SCARD_W_UNPOWERED_CARD})
_INVALID: Final = frozenset({scard.SCARD_E_INVALID_HANDLE, scard.SCARD_E_INVALID_VALUE})


def absence(code: int, device: str) -> QKDError:
    """Return the error for *code*, with which a connection was refused."""
    if code in _NO_SERVICE:
        return DeviceNotFoundError("the PC/SC service does not run", device=device, cure=_SERVICE)
    if code in _NO_READER:
        return DeviceNotFoundError("there is no such card reader", device=device, cure="Plug it in")
    if code in _NO_CARD:
        return DeviceNotFoundError("no card is in the reader", device=device, cure="Insert it")
    return _other(code, device)


def failure(code: int, device: str) -> QKDError:
    """Return the error for *code*, which broke a connection that there was."""
    if code in _NO_SERVICE | _NO_READER | _NO_CARD | _INVALID:
        return gone(code, device)
    return _other(code, device)


def gone(code: int, device: str) -> DeviceLostError:
    """Return the error for a card that was there and, says *code*, cannot be had again."""
    who = "PC/SC service" if code in _NO_SERVICE else "token"
    cure = "Put it back, then call init() to open it again"
    return DeviceLostError(f"the {who} went away", device=device, cure=cure)


def _other(code: int, device: str) -> QKDError:
    if code == scard.SCARD_E_SHARING_VIOLATION:
        what = "another program has the card for itself"
        return DeviceBusyError(what, device=device, cure="End that program")
    if code in _DEAF:
        what = "the card in the reader does not answer"
        return DeviceError(what, device=device, cure="Insert it the right way up")
    if code in (scard.SCARD_E_NOT_TRANSACTED, scard.SCARD_F_COMM_ERROR, CARD_RESET):
        return ProtocolError("the reader could not reach the card", device=device)
    return DeviceError(f"the PC/SC service failed with {code & 0xFFFFFFFF:08X}", device=device)
