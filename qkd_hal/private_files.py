"""Files that only their owner may read, and that are never seen half-written."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from qkd_hal.errors import ConfigurationError, DevicePermissionError

__all__ = ["create_private", "private_directory", "read_private", "replace_private"]


def private_directory(path: Path) -> Path:
    """Create *path* as 0700 if need be.

    Raises:
        ConfigurationError: it exists and other users can look inside, or it is not ours.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = path.stat()
    if status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise ConfigurationError(
            f"{path} holds keys but is open to other users", cure=f"Run: chmod 700 {path}"
        )
    return path


def create_private(path: Path, content: bytes | bytearray) -> None:
    """Write a new 0600 file, whole or not at all.

    Raises:
        ConfigurationError: *path* exists, and is left as it was, or cannot be made.
    """
    temporary = _write_beside(path, content)
    try:
        os.link(temporary, path)  # unlike a rename, this never replaces
    except FileExistsError:
        raise ConfigurationError(
            f"{path} exists and is not overwritten", cure="Name another file, or remove it"
        ) from None
    finally:
        temporary.unlink()


def replace_private(path: Path, content: bytes) -> None:
    """Write a 0600 file, atomically replacing what was there."""
    temporary = _write_beside(path, content)
    try:
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def read_private(path: Path, what: str, *, at_most: int, cure: str) -> bytearray:
    """Read a secret that nobody but its owner may read; at most one byte more than *at_most*.

    *what* names it and *cure* says how to get one, for the messages. Unbuffered, so that the
    caller can wipe the only copy.

    Raises:
        ConfigurationError: it is missing, or open to other users.
        DevicePermissionError: this user has no right to read it.
    """
    content = bytearray(at_most + 1)
    try:
        with path.open("rb", buffering=0) as file:
            mode = os.fstat(file.fileno()).st_mode
            size = file.readinto(content) or 0
    except PermissionError:
        raise DevicePermissionError(
            f"no right to read {what} {path}",
            cure="Run as the user who owns it, or have that user hand it out",
        ) from None
    except OSError as error:
        fault = f"cannot read {what} {path}: {error.strerror}"
        raise ConfigurationError(fault, cure=cure) from None
    del content[size:]
    if stat.S_IMODE(mode) & 0o077:
        raise ConfigurationError(
            f"{what} {path} is open to other users", cure=f"Run: chmod 600 {path}"
        )
    return content


def _write_beside(path: Path, content: bytes | bytearray) -> Path:
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # 0600
    except OSError as error:
        raise ConfigurationError(f"cannot create {path}: {error.strerror}") from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        Path(name).unlink()
        raise
    return Path(name)
