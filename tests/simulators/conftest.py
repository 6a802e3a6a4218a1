"""A modem's store on disk, as the process has it open."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from qkd_hal_simulators.modem.block_store import BlockStore
from qkd_hal_simulators.modem.database import Database
from qkd_hal_simulators.modem.key_store import KeyStore
from qkd_hal_simulators.modem.pad_store import PadStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SECRET = hashlib.shake_256(b"an initial secret").digest(512)


@dataclass
class OpenStore:
    """Everything over one database file."""

    database: Database
    keys: KeyStore
    pad: PadStore
    blocks: BlockStore

    def add(self, number: int, key: bytes, *, confirm: bool = True) -> None:
        """Put a block in, as the distiller does."""
        self.blocks.add(number, bytearray(key), bytearray(b"\x55" * 128))
        if confirm:
            self.blocks.confirm(number)


@pytest.fixture
def open_store(tmp_path: Path) -> Iterator[Callable[..., OpenStore]]:
    """Open the same file again and again, like a modem that restarts; the last one closes."""
    opened: list[Database] = []

    def open_again(*, capacity: int = 1 << 20, first: bool = True) -> OpenStore:
        for database in opened:
            database.close()
        fresh = not (tmp_path / "store.sqlite3").exists()
        database = Database(tmp_path / "store.sqlite3")
        opened.append(database)
        pad = PadStore(database, first=first)
        if fresh:
            pad.install(memoryview(SECRET))
        keys = KeyStore(database, capacity=capacity)
        return OpenStore(database, keys, pad, BlockStore(database, keys, pad, first=first))

    yield open_again
    for database in opened:
        database.close()


@pytest.fixture
def store(open_store: Callable[..., OpenStore]) -> OpenStore:
    """A store opened for the first time."""
    return open_store()
