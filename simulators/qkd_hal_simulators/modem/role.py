"""Which end of the light a store was filled as, and when it may change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qkd_hal.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qkd_hal_simulators.modem.database import Database

__all__ = ["note_role"]

_EMITTER, _DETECTOR = b"emitter", b"detector"


def note_role(database: Database, *, emits: bool, unconfirmed: Sequence[int]) -> None:
    """Remember this run's role.

    Raises:
        ConfigurationError: the last run emitted and left blocks whose fate at the peer is open.
            A detector takes its pending blocks for confirmed, and cannot ask.
    """
    role = _EMITTER if emits else _DETECTOR
    with database.transaction() as sql:
        before = sql.execute("SELECT value FROM setting WHERE name = 'role'").fetchone()
        if before == (_EMITTER,) and not emits and unconfirmed:
            raise ConfigurationError(
                f"this modem emitted block {unconfirmed[0]} and does not know whether the peer"
                " holds it",
                cure="Start both ends in their old roles until they have made one more block",
            )
        sql.execute("INSERT OR REPLACE INTO setting (name, value) VALUES ('role', ?)", (role,))
