"""Keys that were taken out of the token for a session, until they are erased here too."""

from __future__ import annotations

import os
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

import pkcs11

from qkd_hal.errors import KeysExhaustedError
from qkd_hal.keys import wipe

if TYPE_CHECKING:
    from qkd_hal.keys import KeyId

__all__ = ["Held", "InsideKey"]

_MAX_HELD = 1024  # sessions that were started and left alone; beyond, the oldest key is lost


class InsideKey(Protocol):
    """A session object: a key that only the token can use, and only for this process."""

    def sign(self, data: bytes, *, mechanism: pkcs11.Mechanism) -> bytes:
        """Compute a MAC in the token."""
        ...

    def destroy(self) -> None:
        """Erase the object."""
        ...


class Held:
    """Bytes in memory and keys inside, by key ID; each is gone once dropped."""

    def __init__(self) -> None:
        self._bytes: dict[KeyId, bytearray] = {}
        self._read: dict[KeyId, int] = {}
        self._inside: dict[KeyId, InsideKey] = {}
        _LIVE.add(self)

    def __contains__(self, key_id: KeyId) -> bool:
        return key_id in self._bytes or key_id in self._inside

    def put(self, key_id: KeyId, key: bytearray | InsideKey) -> None:
        """Keep *key* until it is dropped."""
        if isinstance(key, bytearray):
            self._bytes[key_id] = key
        else:
            self._inside[key_id] = key
        for known in (self._bytes, self._inside):
            if len(known) > _MAX_HELD:
                self.drop(next(iter(known)))

    def read(self, key_id: KeyId, out: memoryview) -> None:
        """Fill *out* with the next bytes of a key.

        Raises:
            KeysExhaustedError: fewer are left.
        """
        begin = self._read.get(key_id, 0)
        piece = memoryview(self._bytes[key_id])[begin : begin + len(out)]
        if len(piece) < len(out):
            raise KeysExhaustedError(f"{len(out)} bytes were asked for, {len(piece)} are left")
        out[:] = piece
        self._read[key_id] = begin + len(out)

    def inside(self, key_id: KeyId) -> InsideKey:
        """Return a key that stays in the token."""
        return self._inside[key_id]

    def drop(self, key_id: KeyId) -> None:
        """Overwrite or destroy a key; needs the module's lock."""
        wipe(self._bytes.pop(key_id, bytearray()))
        self._read.pop(key_id, None)
        inside = self._inside.pop(key_id, None)
        if inside is not None:
            with suppress(pkcs11.PKCS11Error):  # a session that is gone took it along
                inside.destroy()

    def clear(self) -> None:
        """Drop all; needs the module's lock."""
        for key_id in [*self._bytes, *self._inside]:
            self.drop(key_id)

    def forget(self) -> None:
        """Overwrite what is here and leave the token alone: for a forked child."""
        for material in self._bytes.values():
            wipe(material)
        self._bytes, self._inside = {}, {}


_LIVE: weakref.WeakSet[Held] = weakref.WeakSet()


def _forget_all() -> None:
    for held in list(_LIVE):
        held.forget()


os.register_at_fork(after_in_child=_forget_all)
