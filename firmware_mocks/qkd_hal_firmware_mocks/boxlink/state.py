"""What a pair of boxes keeps in a directory: its keys, and the secrets that its hosts need."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["StateError", "open_state", "read_psk"]

_PSK_BYTES = 32


class StateError(Exception):
    """The directory or a file in it is not as it must be."""


@contextmanager
def open_state(directory: Path) -> Iterator[Path]:
    """Create *directory* as 0700 if need be, and give its absolute path; hold it alone.

    Raises:
        StateError: other users can look inside, or another process holds it.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if directory.stat().st_mode & 0o077:
        raise StateError(f"{directory} is open to other users; run: chmod 700 {directory}")
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        _lock(descriptor, directory)
        yield directory.absolute()
    finally:
        os.close(descriptor)


def read_psk(path: Path) -> bytes:
    """Return the PSK in *path*, 64 hexadecimal digits; make the file (0600) if it is not there.

    Raises:
        StateError: it holds something else.
    """
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return _parse(path)
    psk = os.urandom(_PSK_BYTES)
    with os.fdopen(descriptor, "w") as file:
        file.write(psk.hex() + "\n")
    return psk


def _lock(descriptor: int, directory: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise StateError(f"other boxes run on {directory}; give these another") from None


def _parse(path: Path) -> bytes:
    try:
        psk = bytes.fromhex(path.read_text())
    except ValueError:
        psk = b""
    if len(psk) != _PSK_BYTES:
        raise StateError(f"{path} does not hold 64 hexadecimal digits")
    return psk
