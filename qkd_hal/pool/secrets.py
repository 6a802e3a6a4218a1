"""The link secret: 32 random bytes in a file that only its owner reads, the same at both ends."""

from __future__ import annotations

import secrets
from pathlib import Path

from qkd_hal.errors import ConfigurationError
from qkd_hal.link.channel import SECRET_MIN
from qkd_hal.private_files import create_private, read_private

__all__ = ["create_link_secret", "load_link_secret"]

MAX_SECRET = 4096  # bytes; more is the wrong file


def create_link_secret(path: str | Path) -> None:
    """Write a fresh secret to *path*, mode 0600; never overwrites.

    Raises:
        ConfigurationError: the file exists or cannot be written.
    """
    create_private(Path(path), (secrets.token_hex(SECRET_MIN) + "\n").encode("ascii"))


def load_link_secret(path: str | Path) -> bytes:
    """Read the secret that :func:`create_link_secret` wrote: hexadecimal, 32 bytes or more.

    Raises:
        ConfigurationError: the file is missing, open to others, or holds something else.
        DevicePermissionError: this user may not read it.
    """
    cure = "Make one with `qkd-hal pool secret` and copy it to the other site by a safe way"
    text = read_private(Path(path), "the link secret", at_most=MAX_SECRET, cure=cure)
    return _parse(text, path)


def _parse(text: bytearray, path: str | Path) -> bytes:
    try:
        secret = bytes.fromhex(text.decode("ascii").strip())
    except ValueError:
        secret = b""
    if len(secret) < SECRET_MIN:
        raise ConfigurationError(
            f"the link secret {path} does not hold {SECRET_MIN} bytes in hexadecimal"
        )
    return secret
