"""Media for a token's state: memory, or a file that is replaced whole.

A copy of the file is a copy of every key in it, as no real token allows: it is for trying
drivers, not for keeping keys.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from dataclasses import astuple, fields
from pathlib import Path
from typing import TYPE_CHECKING

import cbor2

from qkd_hal_firmware_mocks.token.state import MediumError, StoredKey, TokenState

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

__all__ = ["FileMedium", "MemoryMedium"]

_FORMAT = 1


class MemoryMedium:
    """Survives a reset of the applet, not the end of the process."""

    def __init__(self) -> None:
        self.saved = TokenState()

    def load(self) -> TokenState:
        """Return what was last saved."""
        return self.saved

    def save(self, state: TokenState) -> None:
        """Keep *state*."""
        self.saved = state


class FileMedium:
    """A 0600 file, locked for one process at a time: two would serve a key twice.

    Raises:
        MediumError: another process has it, or it is no state of a token.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = os.open(f"{path}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._state = _decoded(path.read_bytes()) if path.exists() else TokenState()
        except BlockingIOError:
            self.close()
            raise MediumError(f"another process holds {path}") from None
        except OSError as error:
            self.close()
            raise MediumError(f"cannot use {path}: {error.strerror}") from None
        except (ValueError, TypeError, KeyError, cbor2.CBORDecodeError):
            self.close()
            raise MediumError(f"{path} is not the state of a token") from None

    def load(self) -> TokenState:
        """Return what was last saved."""
        return self._state

    def save(self, state: TokenState) -> None:
        """Replace the file."""
        try:
            _replace(self._path, _encoded(state))
        except OSError as error:
            raise MediumError(error.strerror) from None
        self._state = state

    def close(self) -> None:
        """Let others have the file."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _encoded(state: TokenState) -> bytes:
    values = {entry.name: getattr(state, entry.name) for entry in fields(state)}
    values["keys"] = [astuple(key) for key in state.keys.values()]
    return cbor2.dumps({"format": _FORMAT, **values})


def _decoded(raw: bytes) -> TokenState:
    values = cbor2.loads(raw)
    if not isinstance(values, dict) or values.pop("format", None) != _FORMAT:
        raise ValueError("another format")
    keys = [StoredKey(*entry) for entry in values.pop("keys")]
    confirmed = tuple(tuple(entry) for entry in values.pop("confirmed"))
    by_id = {key.key_id: key for key in keys}
    return TokenState(**values, keys=by_id, confirmed=confirmed)


def _replace(path: Path, content: bytes) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
