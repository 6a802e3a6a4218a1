"""The engine of a modem, with or without a transcript of what it does."""

from __future__ import annotations

import logging
import time
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING

from qkd_hal.distillation.session import DistillationSession
from qkd_hal.distillation.transcript import WARNING
from qkd_hal.distillation.transcript_recorder import RecordingSession
from qkd_hal.private_files import private_directory
from qkd_hal.recording.session_file import SessionFile

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack
    from pathlib import Path

__all__ = ["SUFFIX", "engine_of"]

SUFFIX = ".secret-session"

_LOG = logging.getLogger("qkd_hal.modem.record")


def engine_of(
    site: str, directory: Path | None, cleanup: ExitStack
) -> Callable[..., DistillationSession]:
    """Return what makes the engine of *site*, recorded into *directory* if there is one.

    Raises:
        ConfigurationError: *directory* is open to other users, or no file can be made in it.
    """
    if directory is None:
        return DistillationSession
    began = time.strftime("%Y-%m-%dT%H%M%SZ", time.gmtime())
    unique = f"{time.time_ns() % 10**9:09}"  # two starts within a second
    path = private_directory(directory) / f"{site}-{began}-{unique}{SUFFIX}"
    file = SessionFile(path)
    cleanup.callback(file.close)
    _LOG.warning("this session is recorded into %s. %s", path, WARNING)
    about = {"qkd_hal": version("qkd-hal"), "site": site, "began": began}
    return partial(_recorded, cleanup, partial(RecordingSession, write=file.write, about=about))


def _recorded(
    cleanup: ExitStack, make: Callable[..., RecordingSession], *arguments: object, **options: object
) -> RecordingSession:
    session = make(*arguments, **options)
    cleanup.callback(session.end_recording)
    return session
