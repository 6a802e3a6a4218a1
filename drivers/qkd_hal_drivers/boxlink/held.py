"""Small keys that came along with the answer to BIND or AGREE, until they are fetched.

The box holds each of them still: what is lost here is fetched from there.
"""

from __future__ import annotations

import os
import weakref
from typing import TYPE_CHECKING, Final, TypeAlias

from qkd_hal.keys import wipe

if TYPE_CHECKING:
    from qkd_hal.keys import KeyId

__all__ = ["HeldKeys"]

# Keys between BIND or AGREE and their fetch: sessions that connect before one of them takes its
# key. A session beyond costs an exchange; one left alone leaves no more than this in memory.
_MAX_HELD: Final = 16


Name: TypeAlias = "tuple[str, KeyId]"  # the peer, and what the key is called there


class HeldKeys:
    """Keys of one connection, each but once, however many slots it has: when one of them has
    confirmed it, none may hand it out again.

    One thread at a time calls it, except :meth:`close`, which may come in the middle of another
    call, from any thread or a signal handler. So there is no lock, and whoever takes a key out of
    the table, in one step, is the one to overwrite it.
    """

    def __init__(self) -> None:
        self._keys: dict[Name, bytearray] = {}
        self._closed = False
        _LIVE.add(self)

    def __contains__(self, name: Name) -> bool:
        return name in self._keys

    def put(self, name: Name, key: memoryview) -> None:
        """Keep a copy of *key*, in place of the oldest if there are many; none once closed."""
        self.drop(name)
        self._keys[name] = bytearray(key)
        for oldest in list(self._keys)[:-_MAX_HELD]:
            self.drop(oldest)
        if self._closed:  # perhaps after close() overwrote what it found
            self.drop(name)

    def move(self, name: Name, out: memoryview) -> bool:
        """Move the key into *out*; ``False`` if it is not here, and not if *out* wants a part.

        Either way it is here no more.
        """
        key = self._keys.pop(name, None)
        if key is None:
            return False
        fits = len(out) == len(key)
        if fits:
            out[:] = key
        wipe(key)
        return fits

    def drop(self, name: Name) -> None:
        """Overwrite the key, if it is here."""
        wipe(self._keys.pop(name, bytearray()))

    def close(self) -> None:
        """Overwrite all keys, and take no more."""
        self._closed = True
        for name in list(self._keys):
            self.drop(name)


_LIVE: weakref.WeakSet[HeldKeys] = weakref.WeakSet()


def _close_all() -> None:
    for held in list(_LIVE):
        held.close()


os.register_at_fork(after_in_child=_close_all)  # keys are the parent's
