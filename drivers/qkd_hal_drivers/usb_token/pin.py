"""PIN and PUK: where they come from, and the block that a token takes."""

from __future__ import annotations

import os
import weakref
from pathlib import Path
from typing import Final

from qkd_hal.errors import ConfigurationError, UsageError
from qkd_hal.keys import wipe
from qkd_hal.private_files import read_private

__all__ = ["ENVIRONMENT_VARIABLE", "Pin", "pin_block", "puk_block"]

ENVIRONMENT_VARIABLE = "QKD_HAL_PIN"
_BLOCK: Final = 16
_LEAST_PIN, _LEAST_PUK = 6, 8
_CURE: Final = f"Add ?pin-source=/PATH (mode 0600) to the URL, or set {ENVIRONMENT_VARIABLE}"


class Pin:
    """A PIN block in memory that is overwritten on demand, at the end and in a forked child."""

    def __init__(self, block: bytearray) -> None:
        self.block = block
        _LIVE.add(self)

    @classmethod
    def from_source(cls, file: str | None, typed: str | None, device: str) -> Pin:
        """Return the PIN that was typed, that is in *file*, or that the environment has.

        Raises:
            ConfigurationError: there is none, it is no PIN, or its file is open to others.
        """
        try:
            return cls(_block_from(file, typed))
        except UsageError as error:
            raise ConfigurationError(error.what, device=device, cure=_CURE) from None

    def wipe(self) -> None:
        """Overwrite it."""
        wipe(self.block)
        self.block = bytearray()

    def __del__(self) -> None:
        self.wipe()

    def __repr__(self) -> str:
        return "<Pin, redacted>"


def pin_block(pin: str | bytearray) -> bytearray:
    """Return the block of a PIN.

    Raises:
        UsageError: it is none.
    """
    return _block(pin, "PIN", _LEAST_PIN)


def puk_block(puk: str | bytearray) -> bytearray:
    """Return the block of a PUK.

    Raises:
        UsageError: it is none.
    """
    return _block(puk, "PUK", _LEAST_PUK)


def _block_from(file: str | None, typed: str | None) -> bytearray:
    if typed is None and file is not None:
        return _from_file(Path(file.removeprefix("file:")))
    given = typed if typed is not None else os.environ.get(ENVIRONMENT_VARIABLE)
    if not given:
        raise ConfigurationError("no PIN for the token", cure=_CURE)
    return pin_block(given)


def _from_file(path: Path) -> bytearray:
    raw = read_private(path, "the PIN file", at_most=_BLOCK + 2, cure="Write the PIN into it")
    try:
        while raw and raw[-1] in b"\r\n":
            raw.pop()
        return pin_block(raw)
    finally:
        wipe(raw)


def _block(text: str | bytearray, name: str, least: int) -> bytearray:
    raw = bytearray(text.encode()) if isinstance(text, str) else bytearray(text)
    if not least <= len(raw) <= _BLOCK or not all(0x21 <= byte < 0x7F for byte in raw):
        wipe(raw)
        raise UsageError(f"a {name} has {least} to {_BLOCK} letters, digits or signs")
    block = raw + b"\xff" * (_BLOCK - len(raw))
    wipe(raw)
    return block


_LIVE: weakref.WeakSet[Pin] = weakref.WeakSet()


def _forget_all() -> None:
    for pin in list(_LIVE):
        pin.wipe()


os.register_at_fork(after_in_child=_forget_all)
