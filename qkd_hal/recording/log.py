"""The file of a recording while it is written: private, one JSON object a line."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from qkd_hal.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["FORMAT", "MAX_BYTES", "RecordingLog"]

FORMAT = 1  # raised by what an older reader would misunderstand
MAX_BYTES = 64 << 20  # what a reader takes; a week of a status every second fills a third of it

_logger = logging.getLogger("qkd_hal.recording")


class RecordingLog:
    """Appends lines to a new 0600 file; safe from any thread.

    The file is opened for each line, so that no descriptor outlives its device. A line that
    cannot be written ends the recording with a warning, and never the call that it records.

    Raises:
        ConfigurationError: *path* exists, and is left as it was, or cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()
        self._mutex = threading.Lock()
        self._began = time.monotonic()
        self._size = 0
        self._ended = False
        self._file = _create(self._path)

    def now(self) -> float:
        """Seconds since the recording began."""
        return round(time.monotonic() - self._began, 6)

    def write(self, fields: Mapping[str, object]) -> None:
        """Append one line."""
        line = (json.dumps(fields, allow_nan=False) + "\n").encode()
        with self._mutex:
            self._size += len(line)
            if self._ended:
                return
            if self._size > MAX_BYTES:
                self._end(f"it reached {MAX_BYTES} bytes")
                return
            try:
                self._append(line)
            except OSError as error:
                self._end(error.strerror or "of a fault of the file system")

    def _append(self, line: bytes) -> None:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            if (status.st_dev, status.st_ino) != self._file:
                self._end("another file has taken its place")
            elif os.write(descriptor, line) != len(line):
                self._end("the disk is full")
        finally:
            os.close(descriptor)

    def _end(self, why: str) -> None:
        self._ended = True
        _logger.warning("the recording %s ends here: %s", self._path, why)


def _create(path: Path) -> tuple[int, int]:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise ConfigurationError(
            f"{path} exists and is not overwritten", cure="Name another file, or remove it"
        ) from None
    except OSError as error:
        raise ConfigurationError(f"cannot create {path}: {error.strerror}") from None
    try:
        status = os.fstat(descriptor)
        return status.st_dev, status.st_ino
    finally:
        os.close(descriptor)
