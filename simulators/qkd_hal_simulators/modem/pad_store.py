"""The authentication pad on disk: each position is spent before its mask is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qkd_hal.distillation.authentication import (
    HASH_KEY_BYTES,
    Direction,
    PadMarks,
    PadPosition,
    check_secret,
    segment_of_block,
)
from qkd_hal.distillation.parameters import MASK_BYTES
from qkd_hal.errors import AuthenticationError, PadExhaustedError

if TYPE_CHECKING:
    import sqlite3

    from qkd_hal_simulators.modem.database import Database

__all__ = ["PadStore"]

_FIRST_MASK = HASH_KEY_BYTES // MASK_BYTES  # in segment 0 the hash key stands before the masks


class PadStore:
    """An :class:`~qkd_hal.distillation.authentication.AuthenticationPad` in SQLite.

    *first*: whether this end sends with the first half of each segment.
    """

    def __init__(self, database: Database, *, first: bool) -> None:
        self._database = database
        self._first = first

    def install(self, secret: memoryview) -> None:
        """Lay the initial secret down as segment 0.

        Raises:
            ConfigurationError: it is too short, or of a length that cannot be halved.
        """
        check_secret(secret)
        with self._database.transaction() as sql:
            self._insert(sql, 0, secret, confirmed=True)
            marks = [(1, 0, _FIRST_MASK), (0, 0, _FIRST_MASK - 1)]
            sql.executemany("INSERT INTO pad_mark VALUES (?, ?, ?)", marks)

    def append(self, block: int, refill: memoryview) -> None:
        """Add the segment of *block*; it serves to send only once confirmed."""
        with self._database.transaction() as sql:
            self._insert(sql, segment_of_block(block), refill, confirmed=False)

    def confirm(self, block: int) -> None:
        """Let the segment of *block* serve to send."""
        segment = segment_of_block(block)
        with self._database.transaction() as sql:
            sql.execute("UPDATE pad SET confirmed = 1 WHERE segment = ?", (segment,))

    def drop(self, block: int) -> None:
        """Erase the segment of *block*, which the peer never had."""
        with self._database.transaction() as sql:
            sql.execute("DELETE FROM pad WHERE segment = ?", (segment_of_block(block),))

    @property
    def remaining(self) -> int:
        """Masks that this end can still send."""
        with self._database.transaction() as sql:
            segment, offset = _mark(sql, sent=True)
            (octets,) = sql.execute(
                "SELECT coalesce(sum(length(material)), 0) FROM pad"
                " WHERE sent AND confirmed AND segment >= ?",
                (segment,),
            ).fetchone()
        return int(octets) // MASK_BYTES - offset

    @property
    def marks(self) -> PadMarks:
        """How far both directions are used."""
        with self._database.transaction() as sql:
            return PadMarks(_mark(sql, sent=True), _mark(sql, sent=False))

    def hash_key(self, direction: Direction) -> bytes:
        """Return the 16 bytes at the head of *direction*'s half of the initial secret."""
        with self._database.transaction() as sql:
            return _read(sql, PadPosition(0, 0), sent=direction is Direction.SENT)

    def take(self) -> tuple[PadPosition, bytes]:
        """Use up the next mask; the database has forgotten it before this returns."""
        with self._database.transaction() as sql:
            position = _next(sql)
            mask = _read(sql, position, sent=True)
            _spend(sql, position, sent=True)
            _set_mark(sql, PadPosition(position.segment, position.offset + 1), sent=True)
        return position, mask

    def expect(self, position: PadPosition) -> bytes:
        """Return the peer's mask at *position*; changes nothing."""
        with self._database.transaction() as sql:
            if position <= _mark(sql, sent=False):
                raise AuthenticationError("a tag names a place in the pad that was used before")
            return _read(sql, position, sent=False)

    def accept(self, position: PadPosition) -> None:
        """Raise the mark over *position* and erase its mask."""
        with self._database.transaction() as sql:
            _set_mark(sql, position, sent=False)
            _spend(sql, position, sent=False)

    def _insert(
        self, sql: sqlite3.Connection, segment: int, secret: memoryview, *, confirmed: bool
    ) -> None:
        middle = len(secret) // 2
        halves = secret[:middle], secret[middle:]
        sent, received = halves if self._first else halves[::-1]
        sql.executemany(
            "INSERT INTO pad (segment, sent, confirmed, material) VALUES (?, ?, ?, ?)",
            [(segment, 1, confirmed, sent), (segment, 0, confirmed, received)],
        )


def _next(sql: sqlite3.Connection) -> PadPosition:
    at, offset = _mark(sql, sent=True)
    rows = sql.execute(
        "SELECT segment, length(material) FROM pad"
        " WHERE sent AND confirmed AND segment >= ? ORDER BY segment",
        (at,),
    )
    for segment, size in rows.fetchall():
        start = offset if segment == at else 0
        if start < size // MASK_BYTES:
            return PadPosition(segment, start)
    raise PadExhaustedError(
        "no one-time-pad key is left to authenticate with",
        cure="Give both modems a fresh --dir and a fresh initial secret",
    )


def _mark(sql: sqlite3.Connection, *, sent: bool) -> PadPosition:
    query = "SELECT segment, offset FROM pad_mark WHERE sent = ?"
    return PadPosition(*sql.execute(query, (sent,)).fetchone())


def _set_mark(sql: sqlite3.Connection, position: PadPosition, *, sent: bool) -> None:
    query = "UPDATE pad_mark SET segment = ?, offset = ? WHERE sent = ?"
    sql.execute(query, (*position, sent))


def _read(sql: sqlite3.Connection, position: PadPosition, *, sent: bool) -> bytes:
    row = sql.execute(
        "SELECT rowid, length(material) FROM pad WHERE segment = ? AND sent = ?",
        (position.segment, sent),
    ).fetchone()
    if row is None or position.offset >= row[1] // MASK_BYTES:
        raise AuthenticationError("a tag names a place that the pad does not have")
    with sql.blobopen("pad", "material", row[0], readonly=True) as blob:
        blob.seek(position.offset * MASK_BYTES)
        return bytes(blob.read(MASK_BYTES))


def _spend(sql: sqlite3.Connection, position: PadPosition, *, sent: bool) -> None:
    """Erase the mask, and every earlier segment: positions only rise."""
    query = "SELECT rowid FROM pad WHERE segment = ? AND sent = ?"
    (row,) = sql.execute(query, (position.segment, sent)).fetchone()
    with sql.blobopen("pad", "material", row) as blob:
        blob.seek(position.offset * MASK_BYTES)
        blob.write(bytes(MASK_BYTES))
    # Segment 0 stays: it holds the hash keys.
    old = "DELETE FROM pad WHERE sent = ? AND segment > 0 AND segment < ?"
    sql.execute(old, (sent, position.segment))
