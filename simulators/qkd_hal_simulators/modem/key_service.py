"""What an application can do with the modem's keys, one call per operation of its wire.

A handle names a key that one application holds; only its holder can fetch or confirm. Until
``confirm`` a fetch may be repeated, since a reply can get lost. Handles do not survive the
process: what they held is then burned by the store.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qkd_hal.errors import KeyConsumedError, KeyNotFoundError, KeysExhaustedError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from qkd_hal.key_ids import KeyIdSealer, KeyPlace
    from qkd_hal.keys import KeyId
    from qkd_hal_simulators.modem.key_store import KeyStore

__all__ = ["MAX_COUNT", "MAX_KEY_SIZE", "KeyService"]

MAX_KEY_SIZE = 1 << 16  # bytes: what a key ID can name
MAX_COUNT = 256  # keys in one request: a reply stays far below a message's bound
_MAX_HELD = 16384  # handles: bounds memory when an application never confirms
_IDLE_SECONDS = 600.0  # after which a key that nobody fetches further is given up
_HANDLE_BYTES = 16


@dataclass(slots=True)
class _Held:
    """A key under a handle. ``fetched`` and ``erased`` count bytes from its start."""

    place: KeyPlace
    own: bool
    touched: float
    fetched: int = 0
    erased: int = 0


class KeyService:
    """Keys by handle and by ID. Not thread-safe: it belongs to the application server."""

    def __init__(
        self,
        store: KeyStore,
        *,
        peer: str,
        own_ids: KeyIdSealer,
        peer_ids: KeyIdSealer,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._peer = peer
        self._own_ids = own_ids
        self._peer_ids = peer_ids
        self._clock = clock
        self._held: dict[bytes, _Held] = {}

    def reserve(self, peer: str, size: int, count: int) -> list[tuple[KeyId, bytes]]:
        """Set *count* keys of *size* bytes aside; return their IDs and handles.

        Raises:
            UsageError: another peer than ours, or a size or count out of bounds.
            KeysExhaustedError: not enough key, or too many handles are held.
        """
        self._require_peer(peer)
        if not 1 <= size <= MAX_KEY_SIZE or not 1 <= count <= MAX_COUNT:
            raise UsageError(
                f"cannot reserve {count} keys of {size} bytes",
                cure=f"Ask for 1 to {MAX_COUNT} keys of 1 to {MAX_KEY_SIZE} bytes",
            )
        self._require_room(count)
        places = self._store.reserve(size, count)
        return [(self._own_ids.seal(place), self._hold(place, own=True)) for place in places]

    def bind(self, peer: str, key_id: KeyId) -> tuple[bytes, int]:
        """Return a handle for the key that *peer* named, and its size; consumes nothing.

        Raises:
            KeyNotFoundError: a forged ID, or a key that is gone.
        """
        self._require_peer(peer)
        place = self._peer_ids.open(key_id)
        self._store.locate(place)
        self._require_room(1)
        return self._hold(place, own=False), place.length

    def agree(self, handle: bytes) -> bool:
        """Return whether the peer's modem has stored the same block.

        A key that we started comes from a block that the peer confirmed; a key that the peer
        named carries an ID that only the peer can make, and only from such a block.
        """
        self._find(handle)
        return True

    def fetch(self, handle: bytes, offset: int, out: memoryview) -> None:
        """Copy ``len(out)`` key bytes at *offset* into *out*.

        Raises:
            KeyNotFoundError: no such handle, or somebody else took the key.
            KeyConsumedError: these bytes were confirmed before.
            UsageError: the key is shorter.
        """
        held = self._find(handle)
        stop = offset + len(out)
        if not 0 <= offset < stop <= held.place.length:
            raise UsageError(f"bytes {offset} to {stop} are not within the key")
        if offset < held.erased:
            raise KeyConsumedError("these bytes were fetched and confirmed before")
        if not held.own and not held.fetched:
            self._store.take(held.place)
        held.fetched = max(held.fetched, stop)
        self._store.read(_part(held.place, offset, stop), out, own=held.own)

    def confirm(self, handle: bytes) -> None:
        """Erase what was fetched; an unknown handle was confirmed before."""
        held = self._held.get(handle)
        if held is None:
            return
        self._erase(held, held.fetched)
        if held.erased == held.place.length:
            del self._held[handle]

    def expire(self) -> None:
        """Give up keys that were held too long: what was reserved or taken is erased."""
        oldest = self._clock() - _IDLE_SECONDS
        for handle in [h for h, held in self._held.items() if held.touched < oldest]:
            held = self._held.pop(handle)
            if held.own or held.fetched:
                self._erase(held, held.place.length)

    def _erase(self, held: _Held, stop: int) -> None:
        if stop > held.erased:
            self._store.erase(_part(held.place, held.erased, stop), own=held.own)
            held.erased = stop

    def _hold(self, place: KeyPlace, *, own: bool) -> bytes:
        handle = os.urandom(_HANDLE_BYTES)
        self._held[handle] = _Held(place, own, self._clock())
        return handle

    def _find(self, handle: bytes) -> _Held:
        held = self._held.get(handle)
        if held is None:
            raise KeyNotFoundError(
                "the modem does not know this handle", cure="Start or bind the key again"
            )
        held.touched = self._clock()
        return held

    def _require_peer(self, peer: str) -> None:
        if peer != self._peer:
            raise UsageError(
                f"this modem shares keys with {self._peer!r}, not with {peer!r}",
                cure=f"Name the peer {self._peer!r}, or open the modem of the other link",
            )

    def _require_room(self, count: int) -> None:
        self.expire()
        if len(self._held) + count > _MAX_HELD:
            raise KeysExhaustedError(
                "too many keys are held unconfirmed", cure="Fetch and confirm them first"
            )


def _part(place: KeyPlace, start: int, stop: int) -> KeyPlace:
    return type(place)(place.block, place.offset + start, stop - start)
