"""The file of a distilling session's transcript: private, and never in the link's way."""

from __future__ import annotations

import logging
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from qkd_hal.distillation.transcript import Transcript
from qkd_hal.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["MAX_SESSION_BYTES", "SessionFile", "open_session"]

MAX_SESSION_BYTES = 1 << 30  # some 200 blocks of the default size; a full disk stops the modem
_OTHERS = 0o077

_logger = logging.getLogger("qkd_hal.recording")


class SessionFile:
    """A new 0600 file for a :class:`~qkd_hal.distillation.transcript_recorder.RecordingSession`.

    What cannot be written ends the recording with a warning, and never the session: the
    transcript then has no end, and is good up to there; ``gave_up`` tells.

    Raises:
        ConfigurationError: *path* exists, and is left as it was, or cannot be made.
    """

    def __init__(self, path: Path, *, at_most: int = MAX_SESSION_BYTES) -> None:
        self._path = path
        self._room = at_most
        self.gave_up = False
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._descriptor: int | None = os.open(path, flags, 0o600)
        except FileExistsError:
            cure = "Name another file, or remove it"
            raise ConfigurationError(f"{path} exists and is not overwritten", cure=cure) from None
        except OSError as error:
            raise ConfigurationError(f"cannot create {path}: {error.strerror}") from None

    def write(self, raw: bytes) -> None:
        """Append *raw*, whole, or end the recording."""
        if self._descriptor is None:
            return
        self._room -= len(raw)
        if self._room < 0:
            self._give_up("it is as long as it may become")
            return
        try:
            written = os.write(self._descriptor, raw)
        except OSError as error:
            self._give_up(error.strerror or "of a fault of the file system")
            return
        if written != len(raw):
            self._give_up("the disk is full")

    def close(self) -> None:
        """Close the file; idempotent."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _give_up(self, why: str) -> None:
        self.close()
        self.gave_up = True
        _logger.warning("the transcript %s ends here: %s", self._path, why)


@contextmanager
def open_session(path: Path) -> Iterator[Transcript]:
    """Read the transcript *path*; each use begins anew.

    Raises:
        ConfigurationError: it cannot be read, or holds secrets and is open to other users.
        ProtocolError: it is no transcript.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from None
    with file:
        mode = os.fstat(file.fileno()).st_mode
        transcript = Transcript(file.read)
        if transcript.header.secret and mode & _OTHERS:
            cure = f"Run: chmod 600 {path}; give both ends a fresh initial secret"
            raise ConfigurationError(f"{path} holds keys but is open to other users", cure=cure)
        yield transcript
