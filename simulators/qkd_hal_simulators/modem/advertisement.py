"""A running modem announces itself to discovery by a small file; see docs/modem-protocol.md."""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from qkd_hal.private_files import private_directory, replace_private

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["advertised"]


@contextmanager
def advertised(site: str, fields: Mapping[str, object]) -> Iterator[None]:
    """Announce *fields* under this process's number while the block runs."""
    directory = _directory()
    private_directory(directory.parent)  # in a shared /tmp, somebody else may have made it
    _sweep(private_directory(directory))
    path = directory / f"{site}-{os.getpid()}.json"
    replace_private(path, json.dumps({**fields, "pid": os.getpid()}).encode())
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _sweep(directory: Path) -> None:
    """Remove what killed modems left: files that are named after no living process."""
    for path in directory.glob("*-*.json"):
        number = path.stem.rpartition("-")[2]
        if number.isdigit() and not _lives(int(number)):
            path.unlink(missing_ok=True)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # somebody else's; no process number at all
        return True
    return True


def _directory() -> Path:
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime:
        return Path(runtime) / "qkd-hal" / "modems"
    return Path(tempfile.gettempdir()) / f"qkd-hal-{os.getuid()}" / "modems"
