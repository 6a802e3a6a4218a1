"""A store in one SQLite file, made to survive the power cord.

``synchronous=FULL`` with a write-ahead log: a commit returns after the disk has it.
``secure_delete`` overwrites freed pages of the database; what the log, the file system and
flash cells keep is out of reach, and the documentation says so. One pool of one process holds
the file, by a lock beside it; a status reader needs no lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sqlite3
import stat
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from qkd_hal.errors import ConfigurationError, StoreError
from qkd_hal.keys import KeyId, KeyRef, Origin, Provenance
from qkd_hal.link import BlockRecord, BlockState, Space, SpaceRecord
from qkd_hal.link.effects import Change, DropBlock, EraseMaterial, PutBlock, PutSpace

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["SQLiteStore"]

APPLICATION_ID = 0x514B4450  # "QKDP" in the header of the file
SCHEMA_VERSION = 1

_SCHEMA = f"""
CREATE TABLE spaces (
    source TEXT NOT NULL, destination TEXT NOT NULL,
    floor INTEGER NOT NULL, closed BLOB NOT NULL, peer_epoch BLOB NOT NULL, keep INTEGER NOT NULL,
    PRIMARY KEY (source, destination)) WITHOUT ROWID;
CREATE TABLE blocks (
    source TEXT NOT NULL, destination TEXT NOT NULL, number INTEGER NOT NULL,
    size INTEGER NOT NULL, state TEXT NOT NULL, mark INTEGER NOT NULL, acked INTEGER NOT NULL,
    provenance TEXT NOT NULL, origin TEXT, remains TEXT,
    PRIMARY KEY (source, destination, number)) WITHOUT ROWID;
CREATE TABLE material (
    source TEXT NOT NULL, destination TEXT NOT NULL, number INTEGER NOT NULL, bytes BLOB NOT NULL,
    PRIMARY KEY (source, destination, number));
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
"""
_PLACE = "source = ? AND destination = ?"
_BLOCK = _PLACE + " AND number = ?"


class SQLiteStore:
    """The store at *path*; made with mode 0600, its directory with 0700, when missing.

    ``read_only`` needs no lock, makes nothing, and is for looking at another process's store.

    Raises:
        StoreError: another process holds it, it is damaged, or of another version.
        ConfigurationError: other users can read it, or it cannot be made.
    """

    def __init__(self, path: str | Path, *, read_only: bool = False) -> None:
        self.path = Path(path).absolute()
        self._thread_lock = Lock()
        self._lock_file = -1
        self._db: sqlite3.Connection | None = None
        if not read_only:
            self._lock_file = _create_and_lock(self.path)
        try:
            self._db = self._connect(read_only)
        except BaseException:
            self.close()
            raise

    def _connect(self, read_only: bool) -> sqlite3.Connection:
        _check_mode(self.path)
        with _store_errors(self.path):
            uri = f"{self.path.as_uri()}?mode={'ro' if read_only else 'rw'}"
            db = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
            try:
                _prepare(db, read_only)
            except BaseException:
                db.close()
                raise
        return db

    def spaces(self) -> list[Space]:
        """Return the spaces that were ever written, in order."""
        with self._database() as db:
            rows = db.execute("SELECT source, destination FROM spaces ORDER BY 1, 2").fetchall()
        return [Space(*row) for row in rows]

    def load(self, space: Space) -> tuple[SpaceRecord, list[BlockRecord]]:
        """Return what is remembered of *space*."""
        place = (space.source, space.destination)
        with self._database() as db:
            found = db.execute(
                f"SELECT floor, closed, peer_epoch, keep FROM spaces WHERE {_PLACE}",  # noqa: S608
                place,
            ).fetchone()
            rows = db.execute(
                "SELECT number, size, state, mark, acked, provenance, origin, remains"  # noqa: S608
                f" FROM blocks WHERE {_PLACE} ORDER BY number",
                place,
            ).fetchall()
            record = _read_space(*found) if found else SpaceRecord()
            return record, [_read_block(*row) for row in rows]

    def read(self, space: Space, number: int, start: int, end: int) -> bytearray:
        """Return bytes ``[start, end)`` of a block."""
        with self._database() as db:
            row = db.execute(
                f"SELECT substr(bytes, ?, ?) FROM material WHERE {_BLOCK}",  # noqa: S608
                (start + 1, end - start, space.source, space.destination, number),
            ).fetchone()
        if row is None or len(row[0]) != end - start or start >= end:
            raise StoreError(f"bytes {start} to {end} of block {number} of {space} are gone")
        return bytearray(row[0])

    def apply(self, space: Space, changes: Sequence[Change]) -> None:
        """Make all *changes* durable in one transaction."""
        with self._database() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                for change in changes:
                    _apply(db, (space.source, space.destination), change)
                db.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    db.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close the file and release the lock; idempotent."""
        with self._thread_lock:
            db, self._db = self._db, None
            if db is not None:
                db.close()
            descriptor, self._lock_file = self._lock_file, -1
            if descriptor >= 0:
                os.close(descriptor)

    @contextlib.contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        with self._thread_lock, _store_errors(self.path):
            if self._db is None:
                raise StoreError(f"the key store {self.path} is closed")
            yield self._db


@contextlib.contextmanager
def _store_errors(path: Path) -> Iterator[None]:
    """Turn whatever SQLite or a damaged row raises into a :class:`StoreError`."""
    try:
        yield
    except sqlite3.Error as error:
        raise StoreError(f"the key store {path} failed: {error}") from None
    except (ValueError, TypeError, KeyError) as error:
        raise StoreError(f"the key store {path} is damaged: {type(error).__name__}") from None


def _create_and_lock(path: Path) -> int:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigurationError(f"cannot make the key store {path}: {error.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        os.close(lock)
        if isinstance(error, BlockingIOError):
            raise StoreError(
                f"another process holds the key store {path}",
                cure="Close it, or give this process a store of its own",
            ) from None
        raise ConfigurationError(f"cannot make the key store {path}: {error.strerror}") from None
    return lock


def _check_mode(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise ConfigurationError(f"cannot open the key store {path}: {error.strerror}") from None
    if stat.S_IMODE(mode) & 0o077:
        raise ConfigurationError(
            f"the key store {path} can be read by others", cure=f"Run: chmod 600 {path}"
        )


def _prepare(db: sqlite3.Connection, read_only: bool) -> None:
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if not read_only:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA secure_delete = ON")
        if version == 0:
            db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
            version = SCHEMA_VERSION
    application = db.execute("PRAGMA application_id").fetchone()[0]
    if version != SCHEMA_VERSION or application != APPLICATION_ID:
        raise StoreError(
            f"not a key store of this version (schema {version}, expected {SCHEMA_VERSION})",
            cure="Drain it with the version that wrote it, then begin a fresh store",
        )


def _apply(db: sqlite3.Connection, place: tuple[str, str], change: Change) -> None:
    match change:
        case PutSpace(record):
            row = (record.floor, record.closed, record.peer_epoch, record.keep)
            db.execute("REPLACE INTO spaces VALUES (?, ?, ?, ?, ?, ?)", (*place, *row))
        case PutBlock(record, material):
            db.execute(
                "REPLACE INTO blocks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*place, *_write_block(record)),
            )
            if material is not None:
                values = (*place, record.number, material)
                db.execute("INSERT INTO material VALUES (?, ?, ?, ?)", values)
        case DropBlock(number):
            db.execute(f"DELETE FROM blocks WHERE {_BLOCK}", (*place, number))  # noqa: S608
            db.execute(f"DELETE FROM material WHERE {_BLOCK}", (*place, number))  # noqa: S608
        case EraseMaterial(number):
            db.execute(f"DELETE FROM material WHERE {_BLOCK}", (*place, number))  # noqa: S608


def _read_space(floor: int, closed: bytes, peer_epoch: bytes, keep: int) -> SpaceRecord:
    return SpaceRecord(floor, closed, peer_epoch, bool(keep))


def _write_block(block: BlockRecord) -> tuple[Any, ...]:
    provenance = [block.provenance.origin.value, *block.provenance.trusted_nodes]
    origin = None if block.origin is None else [block.origin.source, str(block.origin.key_id)]
    return (
        block.number,
        block.size,
        block.state.value,
        block.mark,
        block.acked,
        json.dumps(provenance),
        json.dumps(origin),
        json.dumps(block.remains),
    )


def _read_block(
    number: int,
    size: int,
    state: str,
    mark: int,
    acked: int,
    provenance: str,
    origin: str,
    remains: str,
) -> BlockRecord:
    what, *nodes = json.loads(provenance)
    ref = json.loads(origin)
    ranges = json.loads(remains)
    return BlockRecord(
        number,
        size,
        Provenance(Origin(what), tuple(nodes)),
        BlockState(state),
        mark,
        acked,
        None if ref is None else KeyRef(ref[0], KeyId.parse(ref[1])),
        None if ranges is None else tuple((start, end) for start, end in ranges),
    )
