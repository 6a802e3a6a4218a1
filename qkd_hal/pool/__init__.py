"""The quantum key pool: one key from a device, two sites, at most one use.

::

    with Pool(SQLiteStore("/var/lib/qkd/alice.pool"), site="alice") as pool:
        pool.link("bob", "tcp://bob.example:9100", listen=False, secret=load_link_secret(path))
        Filler(pool, "bob", DeviceKeySource(device)).start()
        reservation = pool.source.reserve("bob", 32)

How two sites share a pool, and what no pool can detect, is in ``docs/pool.md``.
"""

from qkd_hal.pool.filler import Filler, FillerStatus
from qkd_hal.pool.memory_store import MemoryStore
from qkd_hal.pool.pool import Pool, PoolSource
from qkd_hal.pool.secrets import create_link_secret, load_link_secret
from qkd_hal.pool.sqlite_store import SQLiteStore
from qkd_hal.pool.status import PoolStatus, SpaceStatus
from qkd_hal.pool.store import PoolStore
from qkd_hal.pool.urls import open_store

__all__ = [
    "Filler",
    "FillerStatus",
    "MemoryStore",
    "Pool",
    "PoolSource",
    "PoolStatus",
    "PoolStore",
    "SQLiteStore",
    "SpaceStatus",
    "create_link_secret",
    "load_link_secret",
    "open_store",
]
