"""The modem's SQLite file: durable at each commit, private, one process at a time."""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

from qkd_hal.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Database"]

_VERSION = 1
_SCHEMA = """
CREATE TABLE setting (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
CREATE TABLE stored (block INTEGER PRIMARY KEY) STRICT;
CREATE TABLE space (
    block INTEGER, own INTEGER, confirmed INTEGER NOT NULL, reserved INTEGER NOT NULL DEFAULT 0,
    material BLOB NOT NULL, PRIMARY KEY (block, own)
) STRICT;
CREATE TABLE taken (
    block INTEGER, start INTEGER, stop INTEGER NOT NULL, PRIMARY KEY (block, start)
) STRICT;
CREATE TABLE pad (
    segment INTEGER, sent INTEGER, confirmed INTEGER NOT NULL, material BLOB NOT NULL,
    PRIMARY KEY (segment, sent)
) STRICT;
CREATE TABLE pad_mark (
    sent INTEGER PRIMARY KEY, segment INTEGER NOT NULL, offset INTEGER NOT NULL
) STRICT;
"""


class Database:
    """One connection, shared by the modem's threads under one lock."""

    def __init__(self, path: Path) -> None:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self._lock = threading.RLock()
        self._depth = 0
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            self._prepare()
        except BaseException:
            self._connection.close()
            raise

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Run the block's statements as one; when it ends, they are on the disk.

        A transaction within another joins it.

        Raises:
            StoreError: SQLite could not do it; nothing was changed.
        """
        with self._lock:
            outermost = self._depth == 0
            self._depth += 1
            try:
                with self._committed() if outermost else nullcontext():
                    yield self._connection
            finally:
                self._depth -= 1

    @contextmanager
    def _committed(self) -> Iterator[None]:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            yield
            self._connection.execute("COMMIT")
        except BaseException as error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise StoreError(f"the modem's store failed: {error}") from error
            raise

    def close(self) -> None:
        """Close the file, with nothing left in its write-ahead log."""
        with self._lock:
            self._connection.close()

    def _prepare(self) -> None:
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "secure_delete = ON"):
            self._connection.execute(f"PRAGMA {pragma}")
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version not in (0, _VERSION):
            raise StoreError(
                f"the modem's store has version {version}, this program reads {_VERSION}",
                cure="Use the release that wrote it, or start with a fresh --dir and secret",
            )
        if version == 0:
            self._connection.executescript(
                f"BEGIN; {_SCHEMA} PRAGMA user_version = {_VERSION}; COMMIT;"
            )
