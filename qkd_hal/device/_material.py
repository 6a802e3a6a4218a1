"""The bytes of one session between the device and the application."""

from __future__ import annotations

import os
import threading
import weakref
from typing import TYPE_CHECKING, TypeVar

from qkd_hal.errors import KeyConsumedError, KeysExhaustedError
from qkd_hal.keys import wipe

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Material"]

T = TypeVar("T")


class Material:
    """Key bytes that are carved from the front, each once, and overwritten behind.

    Its lock is never held over a device call, so that closing a session never waits.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._begin = 0
        self._sealed = False
        self._mutex = threading.Lock()
        _LIVE.add(self)

    def __del__(self) -> None:
        self.forget()

    def __len__(self) -> int:
        return len(self._buffer) - self._begin

    def put(self, buffer: bytearray) -> None:
        """Move *buffer* in, once; overwritten at once when the session has ended."""
        with self._mutex:
            if self._sealed:
                wipe(buffer)
                return
            self._buffer = buffer

    def take(self, size: int) -> bytearray:
        """Move the next *size* bytes out.

        Raises:
            KeysExhaustedError: fewer are left; nothing is consumed.
            KeyConsumedError: the session ended meanwhile.
        """
        with self._mutex:
            self._require_open()
            if size > len(self):
                raise KeysExhaustedError(f"{size} bytes were asked for, {len(self)} are left")
            begin, self._begin = self._begin, self._begin + size
            piece = self._buffer[begin : self._begin]
            wipe(memoryview(self._buffer)[begin : self._begin])
            return piece

    def use(self, work: Callable[[memoryview], T]) -> T:
        """Return ``work(all the bytes)``, with no chance that they are overwritten meanwhile."""
        with self._mutex:
            self._require_open()
            return work(memoryview(self._buffer))

    def seal(self) -> None:
        """Overwrite what is left and refuse what may still come."""
        with self._mutex:
            self._sealed = True
            self.forget()

    def forget(self) -> None:
        """Overwrite what is left, without the lock: for a forked child, where its owner is gone."""
        wipe(self._buffer)
        self._begin = len(self._buffer)

    def _require_open(self) -> None:
        if self._sealed:
            raise KeyConsumedError("the session ended and its bytes were overwritten")


_LIVE: weakref.WeakSet[Material] = weakref.WeakSet()


def _forget_all() -> None:
    for material in list(_LIVE):
        material.forget()


os.register_at_fork(after_in_child=_forget_all)
