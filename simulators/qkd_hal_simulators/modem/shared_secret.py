"""Takes the initial secret into the store, once: for the pad, and for key IDs."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

from qkd_hal.errors import ConfigurationError
from qkd_hal.keys import wipe
from qkd_hal_simulators.modem.initial_secret import discard_secret, read_secret

if TYPE_CHECKING:
    from pathlib import Path

    from qkd_hal_simulators.modem.database import Database
    from qkd_hal_simulators.modem.pad_store import PadStore

__all__ = ["take_in_secret"]

_ID_SECRET_BYTES = 32


def take_in_secret(database: Database, pad: PadStore, path: Path | None) -> bytes:
    """Return the secret of the key IDs, from the store or, the first time, from *path*.

    The file is removed once the store holds it; one of zeros was wiped by a run that was killed
    before it could remove it.

    Raises:
        ConfigurationError: neither has it, or the two differ.
    """
    stored = _setting(database, "id_secret")
    if path is None or (stored is not None and not path.exists()):
        return _required(stored)
    secret = read_secret(path)
    try:
        if stored is None:
            stored = _install(database, pad, secret)
        elif any(secret) and not _is_installed(database, secret):
            raise ConfigurationError(
                f"{path} is not the secret that this modem was set up with",
                cure="Leave --secret out, or start both ends with a fresh --dir",
            )
    finally:
        wipe(secret)
    discard_secret(path)
    return stored


def _install(database: Database, pad: PadStore, secret: bytearray) -> bytes:
    if not any(secret):
        raise ConfigurationError(
            "the initial secret was taken in by another store and wiped",
            cure="Make one with `qkd-hal modem secret`, and give both ends a fresh --dir",
        )
    id_secret = bytes(secret[:_ID_SECRET_BYTES])
    with database.transaction() as sql, memoryview(secret) as view:
        pad.install(view[_ID_SECRET_BYTES:])
        sql.executemany(
            "INSERT INTO setting (name, value) VALUES (?, ?)",
            [("id_secret", id_secret), ("secret_mark", _mark(secret))],
        )
    return id_secret


def _is_installed(database: Database, secret: bytearray) -> bool:
    return hmac.compare_digest(_required(_setting(database, "secret_mark")), _mark(secret))


def _mark(secret: bytearray) -> bytes:
    return hashlib.blake2s(secret, person=b"mark").digest()


def _setting(database: Database, name: str) -> bytes | None:
    with database.transaction() as sql:
        row = sql.execute("SELECT value FROM setting WHERE name = ?", (name,)).fetchone()
    return None if row is None else bytes(row[0])


def _required(value: bytes | None) -> bytes:
    if value is None:
        raise ConfigurationError(
            "the modem has no initial secret",
            cure="Make one with `qkd-hal modem secret`, and give each end its copy by --secret",
        )
    return value
