"""A distilled block on its way into the store: both halves and the pad's refill, at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qkd_hal.keys import wipe

if TYPE_CHECKING:
    from qkd_hal_simulators.modem.database import Database
    from qkd_hal_simulators.modem.key_store import KeyStore
    from qkd_hal_simulators.modem.pad_store import PadStore

__all__ = ["BlockStore"]


class BlockStore:
    """Keeps key and pad in step: each call is one transaction.

    *first*: whether the first half of each key is this end's own.
    """

    def __init__(self, database: Database, keys: KeyStore, pad: PadStore, *, first: bool) -> None:
        self._database = database
        self._keys = keys
        self._pad = pad
        self._first = first

    def add(self, number: int, key: bytearray, refill: bytearray) -> None:
        """Store block *number* as pending, durably; wipe both buffers."""
        middle = len(key) // 2
        halves = key[:middle], key[middle:]
        own, theirs = halves if self._first else halves[::-1]
        try:
            with self._database.transaction(), memoryview(refill) as segment:
                self._keys.add_block(number, own, theirs)
                self._pad.append(number, segment)
        finally:
            for secret in (key, refill, own, theirs):
                wipe(secret)

    def confirm(self, number: int) -> None:
        """Both ends hold block *number*: it may serve."""
        with self._database.transaction():
            self._keys.confirm_block(number)
            self._pad.confirm(number)

    def drop(self, number: int) -> None:
        """The peer does not hold block *number*: erase it."""
        with self._database.transaction():
            self._keys.drop_block(number)
            self._pad.drop(number)
