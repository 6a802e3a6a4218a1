"""The secret that two sites share before their first block, and which a modem takes in once.

It keys the authentication of the first discussions, so a copy that stays on a disk could
make one-time-pad bytes serve twice. A modem therefore stores it durably and then removes
the file.
"""

from __future__ import annotations

import os
from pathlib import Path

from qkd_hal.errors import ConfigurationError
from qkd_hal.keys import wipe
from qkd_hal.private_files import create_private, read_private

__all__ = ["MIN_SECRET_BYTES", "create_initial_secret", "discard_secret", "read_secret"]

MIN_SECRET_BYTES = 1024
_MAX_SECRET_BYTES = 1 << 20  # far above any pad; bounds what a wrong file makes us read


def create_initial_secret(paths: list[Path], size: int) -> None:
    """Write the same *size* random bytes to each path: one copy per site, 0600.

    Raises:
        ConfigurationError: a path exists, or *size* is too small.
    """
    if not MIN_SECRET_BYTES <= size <= _MAX_SECRET_BYTES:
        raise ConfigurationError(
            f"an initial secret of {size} bytes makes no sense",
            cure=f"Use {MIN_SECRET_BYTES} to {_MAX_SECRET_BYTES} bytes",
        )
    secret = bytearray(os.urandom(size))
    try:
        for path in paths:
            create_private(path, secret)
    finally:
        wipe(secret)


def read_secret(path: Path) -> bytearray:
    """Read an initial secret.

    Raises:
        ConfigurationError: missing, too short or too long, or open to other users.
        DevicePermissionError: this user may not read it.
    """
    cure = "Make one with: qkd-hal modem secret --out FILE --out COPY_FOR_THE_PEER"
    secret = read_private(path, "the initial secret", at_most=_MAX_SECRET_BYTES, cure=cure)
    size = len(secret)
    if not MIN_SECRET_BYTES <= size <= _MAX_SECRET_BYTES:
        raise ConfigurationError(f"{path} is no initial secret: it has {size} bytes")
    return secret


def discard_secret(path: Path) -> None:
    """Overwrite and remove a secret that was taken in; a missing file is fine."""
    try:
        with path.open("r+b", buffering=0) as file:
            file.write(bytes(path.stat().st_size))
            os.fsync(file.fileno())
        path.unlink()
    except FileNotFoundError:
        return
