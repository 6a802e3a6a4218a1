"""Distilled blocks at rest: who owns which half, what is reserved, what was taken.

Each block enters as two halves. The *own* half is what this end may start keys from; the
other half belongs to the peer, whose key IDs take from it. What was reserved or taken is
recorded before a byte leaves, so that a crash loses keys and never serves one twice. A
space keeps its newest blocks: like a ring of flash memory it overwrites the oldest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qkd_hal.errors import KeyNotFoundError, KeysExhaustedError
from qkd_hal.key_ids import KeyPlace

if TYPE_CHECKING:
    import sqlite3

    from qkd_hal_simulators.modem.database import Database

__all__ = ["KeyStore"]

_PEER_SLACK = 2  # the peer's space keeps longer, so that IDs on their way still find their key
_REMEMBERED_BLOCKS = 1024  # the peer asks after its latest few only


class KeyStore:
    """Keys of one modem. *capacity*: bytes that the own space holds before the oldest go."""

    def __init__(self, database: Database, *, capacity: int) -> None:
        self._database = database
        self._capacity = capacity
        with database.transaction() as sql:
            _burn_open_ranges(sql)

    def add_block(self, number: int, own: bytearray, theirs: bytearray) -> None:
        """Store both halves of block *number*, not yet confirmed by the peer."""
        with self._database.transaction() as sql:
            sql.executemany(
                "INSERT INTO space (block, own, confirmed, material) VALUES (?, ?, 0, ?)",
                [(number, 1, own), (number, 0, theirs)],
            )
            sql.execute("INSERT INTO stored VALUES (?)", (number,))
            sql.execute("DELETE FROM stored WHERE block < ?", (number - _REMEMBERED_BLOCKS,))
            _drop_oldest(sql, own=True, capacity=self._capacity)
            _drop_oldest(sql, own=False, capacity=self._capacity * _PEER_SLACK)

    def confirm_block(self, number: int) -> None:
        """The peer holds the block too: from now on keys may start from it."""
        with self._database.transaction() as sql:
            sql.execute("UPDATE space SET confirmed = 1 WHERE block = ?", (number,))

    def drop_block(self, number: int) -> None:
        """Erase a block that the peer does not have."""
        with self._database.transaction() as sql:
            sql.execute("DELETE FROM space WHERE block = ?", (number,))
            sql.execute("DELETE FROM taken WHERE block = ?", (number,))

    def unconfirmed(self) -> list[int]:
        """Return the blocks that still wait for the peer's word."""
        query = "SELECT DISTINCT block FROM space WHERE confirmed = 0 ORDER BY block"
        with self._database.transaction() as sql:
            return [number for (number,) in sql.execute(query)]

    def next_block(self) -> int:
        """Return a number above that of every block ever stored here."""
        with self._database.transaction() as sql:
            (newest,) = sql.execute("SELECT max(block) FROM stored").fetchone()
        return 0 if newest is None else int(newest) + 1

    def ever_stored(self, number: int) -> bool:
        """Return whether block *number* was stored here, be it used up by now."""
        query = "SELECT 1 FROM stored WHERE block = ?"
        with self._database.transaction() as sql:
            return sql.execute(query, (number,)).fetchone() is not None

    def reserve(self, size: int, count: int) -> list[KeyPlace]:
        """Set *count* keys of *size* bytes aside from the own space, all or none.

        Raises:
            KeysExhaustedError: no block has that much left.
        """
        with self._database.transaction() as sql:
            return [_reserve_one(sql, size) for _ in range(count)]

    def locate(self, place: KeyPlace) -> None:
        """Check that the peer's key at *place* can still be taken; consumes nothing.

        Raises:
            KeyNotFoundError: there is no such block here, or a byte of it was taken.
        """
        with self._database.transaction() as sql:
            _require_free(sql, place)

    def take(self, place: KeyPlace) -> None:
        """Record that the peer's key at *place* is being handed out.

        Raises:
            KeyNotFoundError: as :meth:`locate`.
        """
        with self._database.transaction() as sql:
            _require_free(sql, place)
            _add_taken(sql, place.block, place.offset, place.offset + place.length)

    def read(self, place: KeyPlace, out: memoryview, *, own: bool) -> None:
        """Copy ``len(out)`` bytes at *place* into *out*.

        Raises:
            KeyNotFoundError: the ring has overwritten the block since.
        """
        with self._database.transaction() as sql:
            row = _row(sql, place.block, own=own)
            with sql.blobopen("space", "material", row, readonly=True) as blob:
                blob.seek(place.offset)
                out[:] = blob.read(len(out))

    def erase(self, place: KeyPlace, *, own: bool) -> None:
        """Overwrite the bytes at *place*; nothing happens if the block is gone."""
        with self._database.transaction() as sql:
            _erase(sql, place.block, place.offset, place.length, own=own)

    def remaining(self, *, own: bool) -> int:
        """Return how many bytes of a space can still be reserved or taken."""
        query = "SELECT coalesce(sum(length(material) - reserved), 0) FROM space WHERE own = ?"
        with self._database.transaction() as sql:
            if own:
                return int(sql.execute(query + " AND confirmed", (1,)).fetchone()[0])
            taken = "SELECT coalesce(sum(stop - start), 0) FROM taken"
            return int(sql.execute(query, (0,)).fetchone()[0] - sql.execute(taken).fetchone()[0])


def _reserve_one(sql: sqlite3.Connection, size: int) -> KeyPlace:
    row = sql.execute(
        "SELECT block, reserved FROM space WHERE own AND confirmed"
        " AND length(material) - reserved >= ? ORDER BY block LIMIT 1",
        (size,),
    ).fetchone()
    if row is None:
        raise KeysExhaustedError(
            f"no block in the modem has {size} bytes left to start a key from",
            cure="Wait for the link to distil more, or ask for shorter keys",
        )
    block, offset = row
    sql.execute("UPDATE space SET reserved = reserved + ? WHERE block = ? AND own", (size, block))
    return KeyPlace(block, offset, size)


def _require_free(sql: sqlite3.Connection, place: KeyPlace) -> None:
    stop = place.offset + place.length
    there = sql.execute(
        "SELECT 1 FROM space WHERE block = ? AND NOT own AND length(material) >= ?",
        (place.block, stop),
    ).fetchone()
    overlap = sql.execute(
        "SELECT 1 FROM taken WHERE block = ? AND start < ? AND stop > ?",
        (place.block, stop, place.offset),
    ).fetchone()
    if there is None or overlap is not None:
        raise KeyNotFoundError("the modem does not hold this key, or it was taken before")


def _add_taken(sql: sqlite3.Connection, block: int, start: int, stop: int) -> None:
    """Record an interval, merged with its neighbours so that the table stays small."""
    neighbours = "block = ? AND (stop = ? OR start = ?)"
    where = (block, start, stop)
    for left, right in sql.execute(f"SELECT start, stop FROM taken WHERE {neighbours}", where):  # noqa: S608
        start, stop = min(start, left), max(stop, right)
    sql.execute(f"DELETE FROM taken WHERE {neighbours}", where)  # noqa: S608
    sql.execute("INSERT INTO taken VALUES (?, ?, ?)", (block, start, stop))


def _row(sql: sqlite3.Connection, block: int, *, own: bool) -> int:
    query = "SELECT rowid FROM space WHERE block = ? AND own = ?"
    row = sql.execute(query, (block, own)).fetchone()
    if row is None:
        raise KeyNotFoundError("the modem no longer holds this key's block")
    return int(row[0])


def _erase(sql: sqlite3.Connection, block: int, start: int, length: int, *, own: bool) -> None:
    try:
        row = _row(sql, block, own=own)
    except KeyNotFoundError:
        return
    with sql.blobopen("space", "material", row) as blob:
        blob.seek(start)
        blob.write(bytes(length))
    _delete_if_used_up(sql, block, own=own)


def _delete_if_used_up(sql: sqlite3.Connection, block: int, *, own: bool) -> None:
    """Delete the half once nothing of it is left and every byte was overwritten."""
    (left,) = sql.execute(
        "SELECT length(material) - iif(own, reserved, (SELECT coalesce(sum(stop - start), 0)"
        " FROM taken WHERE taken.block = space.block)) FROM space WHERE block = ? AND own = ?",
        (block, own),
    ).fetchone()
    if left:
        return
    sql.execute(
        "DELETE FROM space WHERE block = ? AND own = ? AND material = zeroblob(length(material))",
        (block, own),
    )
    if not own and sql.execute("SELECT changes()").fetchone()[0]:
        sql.execute("DELETE FROM taken WHERE block = ?", (block,))


def _drop_oldest(sql: sqlite3.Connection, *, own: bool, capacity: int) -> None:
    held = 0
    query = "SELECT block, length(material) FROM space WHERE own = ? ORDER BY block DESC"
    for block, size in sql.execute(query, (own,)).fetchall():
        held += size
        if held > capacity:
            sql.execute("DELETE FROM space WHERE block = ? AND own = ?", (block, own))
            if not own:
                sql.execute("DELETE FROM taken WHERE block = ?", (block,))


def _burn_open_ranges(sql: sqlite3.Connection) -> None:
    """Overwrite what a process before us had reserved or taken, used or not."""
    own = sql.execute("SELECT block, 0, reserved, 1 FROM space WHERE own AND reserved").fetchall()
    theirs = sql.execute("SELECT block, start, stop, 0 FROM taken").fetchall()
    for block, start, stop, is_own in own + theirs:
        _erase(sql, block, start, stop - start, own=bool(is_own))
