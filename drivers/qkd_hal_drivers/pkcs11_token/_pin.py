"""The PIN: where it comes from, and when it is not sent.

A token locks after a few wrong PINs, and a program that retries burns them in a second. So a
PIN that was refused is never sent again, and none at all while the token counts a failure.
"""

from __future__ import annotations

import hmac
import os
import secrets
from typing import TYPE_CHECKING

from pkcs11 import PROTECTED_AUTH, TokenFlag

from qkd_hal.errors import ConfigurationError, DevicePermissionError
from qkd_hal.keys import wipe
from qkd_hal.private_files import read_private

if TYPE_CHECKING:
    from pathlib import Path

    from pkcs11 import Token

    from qkd_hal_drivers.pkcs11_token.uri import TokenUri

__all__ = ["ENVIRONMENT_VARIABLE", "check_unrefused", "pin_for", "remember_refused"]

ENVIRONMENT_VARIABLE = "QKD_HAL_PIN"
_MAX_BYTES = 255  # of a PIN; modules allow fewer


def pin_for(uri: TokenUri, token: Token, prompted: str | None) -> str | object:
    """Return the PIN: as a person gave it, from the file, from the environment, or none.

    Raises:
        ConfigurationError: there is no PIN, or its file is missing or open to others.
    """
    pin = prompted or (_from_file(uri.pin_file) if uri.pin_file else None)
    pin = pin or os.environ.get(ENVIRONMENT_VARIABLE)
    if pin:
        return pin
    if token.flags & TokenFlag.PROTECTED_AUTHENTICATION_PATH:
        return PROTECTED_AUTH  # the token has a PIN pad of its own
    raise ConfigurationError(
        "no PIN for the token",
        device=uri.text,
        cure=f"Add ?pin-source=file:/PATH (mode 0600) to the URL, or set {ENVIRONMENT_VARIABLE}",
    )


def check_unrefused(token: Token, pin: str | object, device: str) -> None:
    """Raise :class:`DevicePermissionError` if *token* refused *pin* before."""
    if _mark(token, pin) in _REFUSED:
        what = "the token refused this PIN before; it is not sent again"
        raise DevicePermissionError(what, device=device, cure="Correct the PIN")


def remember_refused(token: Token, pin: str | object) -> None:
    """Never send *pin* to *token* again in this process."""
    _REFUSED.add(_mark(token, pin))


_PROCESS_KEY = secrets.token_bytes(32)  # so that what is remembered of a PIN tells nothing
_REFUSED: set[bytes] = set()


def _mark(token: Token, pin: str | object) -> bytes:
    text = f"{token.manufacturer_id}\0{token.serial!r}\0{pin}"
    return hmac.digest(_PROCESS_KEY, text.encode(), "sha256")


def _from_file(path: Path) -> str:
    raw = read_private(path, "the PIN file", at_most=_MAX_BYTES, cure="Write the PIN into it")
    try:
        pin = raw.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        pin = ""
    too_long = len(raw) > _MAX_BYTES
    wipe(raw)
    if not pin or too_long:
        raise ConfigurationError(f"{path} holds no PIN", cure="Write the PIN into it, one line")
    return pin
