"""Files that only their owner may read, and that are never seen half-written."""

from __future__ import annotations

import fcntl
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from qkd_hal.errors import ConfigurationError, DeviceBusyError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["create_private", "exclusive", "private_directory", "replace_private"]


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
        ConfigurationError: *path* exists; it is left as it was.
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


def _write_beside(path: Path, content: bytes | bytearray) -> Path:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        Path(name).unlink()
        raise
    return Path(name)


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock file *path*; the kernel frees it however this process ends.

    Raises:
        DeviceBusyError: another process holds it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise DeviceBusyError(
            f"another modem runs in {path.parent}", cure="Stop it, or give each its own --dir"
        ) from None
    finally:
        os.close(descriptor)
