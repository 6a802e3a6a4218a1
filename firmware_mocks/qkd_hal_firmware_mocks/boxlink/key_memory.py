"""The durable store of a box: keys that its peer may name, until they are confirmed.

SQLite in WAL mode: a record survives the death of the process; with *sync* also that of
the machine. What is deleted is overwritten, but for what SQLite's log holds until it is reused.
"""

from __future__ import annotations

import os
import sqlite3
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["HeldKey", "KeyMemory"]

_CAPACITY = 16384  # keys that were never asked for; as in a ring, the oldest go
_SLACK = 1024  # how many go at once, so that the rest of the time none does


class HeldKey(NamedTuple):
    """A key: *size* 0 is a stream; *material* begins at the confirmed *mark*."""

    size: int
    mark: int
    material: bytes | bytearray

    def __repr__(self) -> str:
        return f"<HeldKey of {self.size} bytes from {self.mark}>"


class KeyMemory:
    """The keys of one direction. *path* is created 0600; without one, nothing lasts."""

    def __init__(self, path: Path | None, *, sync: bool = False) -> None:
        if path is not None:
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        self._sql = sqlite3.connect(
            ":memory:" if path is None else path, isolation_level=None, check_same_thread=False
        )
        self._sql.execute("PRAGMA journal_mode = WAL")
        self._sql.execute(f"PRAGMA synchronous = {'FULL' if sync else 'OFF'}")
        self._sql.execute("PRAGMA secure_delete = ON")
        self._sql.execute(
            "CREATE TABLE IF NOT EXISTS key"
            " (place INTEGER PRIMARY KEY, id BLOB UNIQUE, size INT, mark INT, material BLOB)"
        )
        (self._count,) = self._sql.execute("SELECT count(*) FROM key").fetchone()

    def close(self) -> None:
        """Release the file."""
        self._sql.close()

    def add(self, keys: Sequence[tuple[bytes, int, bytes]]) -> None:
        """Store keys (ID, size, material), all or none."""
        rows = ", ".join(["(?, ?, 0, ?)"] * len(keys))
        self._sql.execute(
            f"INSERT INTO key (id, size, mark, material) VALUES {rows}",  # noqa: S608
            [part for key in keys for part in key],
        )
        self._count += len(keys)
        if self._count > _CAPACITY:
            self._drop_oldest()

    def find(self, key_id: bytes) -> HeldKey | None:
        """Return the key, unless it was never here or is gone."""
        row = self._sql.execute(
            "SELECT size, mark, material FROM key WHERE id = ?", (key_id,)
        ).fetchone()
        return None if row is None else HeldKey(*row)

    def extend(self, key_id: bytes, material: bytes) -> None:
        """Add bytes to the end of a stream."""
        self._sql.execute(
            "UPDATE key SET material = CAST(material || ? AS BLOB) WHERE id = ?",
            (material, key_id),
        )

    def move_mark(self, key_id: bytes, mark: int) -> None:
        """Erase the bytes below *mark*, which is above the one before."""
        self._sql.execute(
            "UPDATE key SET material = substr(material, ? - mark + 1), mark = ? WHERE id = ?",
            (mark, mark, key_id),
        )

    def remove(self, key_id: bytes) -> None:
        """Erase a key."""
        self._sql.execute("DELETE FROM key WHERE id = ?", (key_id,))
        self._count -= 1

    def _drop_oldest(self) -> None:
        oldest = "SELECT place FROM key ORDER BY place LIMIT ?"
        gone = self._sql.execute(f"DELETE FROM key WHERE place IN ({oldest})", (_SLACK,))  # noqa: S608
        self._count -= gone.rowcount
