"""Names of stores: ``pool+sqlite:///absolute/path`` and ``pool+memory:``."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from qkd_hal.errors import ConfigurationError
from qkd_hal.pool.memory_store import MemoryStore
from qkd_hal.pool.sqlite_store import SQLiteStore

if TYPE_CHECKING:
    from qkd_hal.pool.store import PoolStore

__all__ = ["open_store"]


def open_store(url: str, *, read_only: bool = False) -> PoolStore:
    """Open the store that *url* names.

    Raises:
        ConfigurationError: not a store URL, or its file is open to others.
        StoreError: another process holds it, or it is damaged.
    """
    if url == "pool+memory:":
        return MemoryStore()
    parts = urlsplit(url)
    extra = parts.netloc or parts.query or parts.fragment
    if parts.scheme != "pool+sqlite" or extra or not parts.path.startswith("/"):
        raise ConfigurationError(
            f"{url!r} does not name a key store",
            cure="Write pool+sqlite:///absolute/path or pool+memory:",
        )
    return SQLiteStore(unquote(parts.path), read_only=read_only)
