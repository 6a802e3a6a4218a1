"""The link secret: 32 random bytes in a file that only its owner reads, the same at both ends."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from qkd_hal.errors import ConfigurationError
from qkd_hal.link.channel import SECRET_MIN

__all__ = ["create_link_secret", "load_link_secret"]

MAX_SECRET = 4096  # bytes; more is the wrong file


def create_link_secret(path: str | Path) -> None:
    """Write a fresh secret to *path*, mode 0600; never overwrites.

    Raises:
        ConfigurationError: the file exists or cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise ConfigurationError(
            f"cannot create the link secret {path}: {error.strerror}"
        ) from None
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secrets.token_hex(SECRET_MIN) + "\n")
        file.flush()
        os.fsync(file.fileno())


def load_link_secret(path: str | Path) -> bytes:
    """Read the secret that :func:`create_link_secret` wrote: hexadecimal, 32 bytes or more.

    Raises:
        ConfigurationError: the file is missing, open to others, or holds something else.
    """
    try:
        with Path(path).open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(MAX_SECRET)
    except OSError as error:
        raise ConfigurationError(
            f"cannot read the link secret {path}: {error.strerror}",
            cure="Make one with create_link_secret and copy it to the other site by a safe way",
        ) from None
    if stat.S_IMODE(mode) & 0o077:
        raise ConfigurationError(
            f"the link secret {path} can be read by others", cure=f"Run: chmod 600 {path}"
        )
    return _parse(text, path)


def _parse(text: bytes, path: str | Path) -> bytes:
    try:
        secret = bytes.fromhex(text.decode("ascii").strip())
    except ValueError:
        secret = b""
    if len(secret) < SECRET_MIN:
        raise ConfigurationError(
            f"the link secret {path} does not hold {SECRET_MIN} bytes in hexadecimal"
        )
    return secret
