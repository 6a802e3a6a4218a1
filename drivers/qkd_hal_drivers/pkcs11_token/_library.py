"""Loaded PKCS#11 modules: initialised once in a process, one call at a time, and fork.

``C_Initialize`` without arguments tells a module that the application takes care of its
threads, so every call goes under the module's lock.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

import pkcs11

from qkd_hal.errors import ConfigurationError, DeviceBusyError, DeviceClosedError
from qkd_hal_drivers.pkcs11_token._errors import translated

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pkcs11._pkcs11 import lib as Library  # noqa: N812 - a class with a lower-case name

    from qkd_hal.sources import Deadline

__all__ = ["Module", "SharedSession", "load"]

_SLICE_SECONDS = 0.05  # how long a call that waits for its turn may miss a close()


class SharedSession:
    """A logged-in session on one token, and how many in this process use it."""

    def __init__(self, session: pkcs11.Session) -> None:
        self.session = session
        self.users = 0


class Module:
    """One loaded module. Use its methods and objects between ``acquire`` and ``release``."""

    def __init__(self, path: Path, library: Library) -> None:
        self.path = path
        self.library = library
        self.sessions: dict[int, SharedSession] = {}  # by slot
        self._lock = threading.Lock()
        self._later: deque[Callable[[], None]] = deque()

    def acquire(self, doing: str, deadline: Deadline, closed: threading.Event, device: str) -> None:
        """Wait for the module's lock.

        Raises:
            DeadlineError: other calls kept it until *deadline*.
            DeviceClosedError: *closed* was set meanwhile.
        """
        while not self._lock.acquire(timeout=deadline.remaining(_SLICE_SECONDS) or 0):
            _require_open(closed, device)
            deadline.check(doing, device=device)
        if closed.is_set():
            self.release()
            _require_open(closed, device)

    def release(self) -> None:
        """Give the lock back, and do what others could not wait to do."""
        self._lock.release()
        self._catch_up()

    def do_later(self, action: Callable[[], None]) -> None:
        """Run *action* under the lock: now if it is free, else when its holder is done."""
        self._later.append(action)
        self._catch_up()

    def tokens(self) -> list[pkcs11.Token]:
        """Return the tokens that are present now; opens no session."""
        found = []
        for slot in self.library.get_slots(token_present=True):
            with suppress(pkcs11.TokenNotPresent, pkcs11.TokenNotRecognised):
                found.append(slot.get_token())
        return found

    def _catch_up(self) -> None:
        while self._later and self._lock.acquire(blocking=False):
            try:
                with suppress(IndexError):
                    self._later.popleft()()
            finally:
                self._lock.release()


def load(path: Path) -> Module:
    """Return the module at *path*, loaded and initialised in this process.

    Raises:
        ConfigurationError: it cannot be loaded or does not start.
        DeviceBusyError: something else in this process uses it already.
    """
    path = path.resolve()  # one library under two names would be initialised twice
    with _TABLE.lock:
        module = _TABLE.modules.get(path)
        if module is None or not module.library.initialized:  # or finalised by somebody
            module = _TABLE.modules[path] = Module(path, _initialised(path))
        return module


class _Table:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.modules: dict[Path, Module] = {}
        self.inherited: set[Path] = set()

    def after_fork(self) -> None:
        self.inherited |= set(self.modules)
        self.lock = threading.Lock()
        self.modules = {}


_TABLE = _Table()
os.register_at_fork(after_in_child=_TABLE.after_fork)


def _initialised(path: Path) -> Library:
    try:
        library = pkcs11.lib(str(path))
        if path in _TABLE.inherited:
            _TABLE.inherited.discard(path)
            # After fork() a module must be initialised anew (PKCS#11 v2.40, section 2.7.3);
            # what it kept of the parent's is dropped first, where it admits to have any.
            with suppress(pkcs11.PKCS11Error):
                library.finalize()
            library.initialize()
    except pkcs11.PKCS11Error as error:
        raise _unusable(path, error) from None
    return library


def _unusable(path: Path, error: pkcs11.PKCS11Error) -> ConfigurationError | DeviceBusyError:
    if "already initialized" in str(error):
        return DeviceBusyError(
            f"another part of this process uses the PKCS#11 module {path}",
            cure="Load it there and here through p11-kit-proxy.so, which lets users share it",
        )
    why = str(error) or translated(error, "it was initialised", str(path)).what
    return ConfigurationError(
        f"the PKCS#11 module {path} does not start: {why}",
        cure="Correct module-path, or what the module's own documentation asks for",
    )


def _require_open(closed: threading.Event, device: str) -> None:
    if closed.is_set():
        raise DeviceClosedError("the token was closed", device=device)
