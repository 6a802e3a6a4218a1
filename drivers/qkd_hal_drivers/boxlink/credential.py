"""The PSK of one box, in a private file: 64 hexadecimal digits."""

from __future__ import annotations

import binascii
import os
from pathlib import Path

from qkd_hal.errors import ConfigurationError
from qkd_hal.keys import wipe
from qkd_hal.private_files import read_private

__all__ = ["ENVIRONMENT_VARIABLE", "load_psk"]

ENVIRONMENT_VARIABLE = "QKD_HAL_BOX_CREDENTIAL"
_PSK_BYTES = 32
_MAX_BYTES = 2 * _PSK_BYTES + 2  # a line may end in CR LF
_ENDINGS = (bytearray(), bytearray(b"\n"), bytearray(b"\r\n"))
_CURE = "Write the PSK that the box's maker gave with it, 64 hexadecimal digits, into a 0600 file"


def load_psk(path: str | None) -> bytearray:
    """Read the PSK at *path*, or where ``QKD_HAL_BOX_CREDENTIAL`` points; the caller wipes it.

    Raises:
        ConfigurationError: no path is given, or the file is missing, open to other users or
            holds no PSK.
        DevicePermissionError: this user may not read it.
    """
    name = path or os.environ.get(ENVIRONMENT_VARIABLE)
    if not name:
        raise ConfigurationError(
            "no credential for the box",
            cure=f"Add ?credential=FILE to the URL or set {ENVIRONMENT_VARIABLE}. {_CURE}",
        )
    content = read_private(Path(name), "the box credential", at_most=_MAX_BYTES, cure=_CURE)
    try:
        return _parsed(content, name)
    finally:
        wipe(content)


def _parsed(content: bytearray, name: str) -> bytearray:
    digits = memoryview(content)[: 2 * _PSK_BYTES]
    ends_well = content[2 * _PSK_BYTES :] in _ENDINGS
    try:
        psk = bytearray(binascii.unhexlify(digits))
    except ValueError:
        psk = bytearray()
    finally:
        digits.release()
    if len(psk) != _PSK_BYTES or not ends_well:
        wipe(psk)
        raise ConfigurationError(f"{name} holds no PSK of a box", cure=_CURE)
    return psk
