"""Keys per second through two linked pools: reserve at one site, take at the other.

Both sites run in this process, linked over loopback TCP, filled by a device that costs
nothing. The peer is the same work without a pool: draw 32 bytes, name them, look them up once.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks._report import Row, main
from qkd_hal.errors import KeysExhaustedError
from qkd_hal.keys import KeyId, KeyRef, Origin, Provenance, QuantumKey
from qkd_hal.pool import MemoryStore, Pool, SQLiteStore
from qkd_hal.sources import Reservation

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from qkd_hal.pool import PoolStore
    from qkd_hal.sources import KeySource

BLOCK = 1 << 20  # bytes


class Dictionary:
    """The peer: keys in a dict. Also the device that fills the pools."""

    provenance = Provenance(Origin.SIMULATED)

    def __init__(self) -> None:
        self._keys: dict[KeyRef, bytes] = {}

    def reserve(self, peer: str, size: int = 32) -> Reservation:
        ref, material = KeyRef("alice", KeyId.random()), os.urandom(size)
        self._keys[ref] = material
        return Reservation(ref, QuantumKey(material, provenance=self.provenance, ref=ref))

    def take(self, ref: KeyRef, size: int = 32) -> QuantumKey:
        return QuantumKey(self._keys.pop(ref), provenance=self.provenance, ref=ref)

    def can_serve(self, peer: str, bits: int) -> bool:
        return True


@contextlib.contextmanager
def linked(alice: PoolStore, bob: PoolStore, keys: int) -> Iterator[tuple[KeySource, KeySource]]:
    """Yield the sources of two pools that hold at least *keys* keys."""
    device, secret = Dictionary(), os.urandom(32)
    with Pool(alice, site="alice") as one, Pool(bob, site="bob") as other:
        address = one.link("bob", "tcp://127.0.0.1:0", listen=True, secret=secret)
        other.link("alice", address, listen=False, secret=secret)
        one.wait_ready("bob")
        other.wait_ready("alice")
        other.accept_blocks("alice", device)
        for _ in range(keys * 32 // BLOCK + 1):
            with device.reserve("bob", BLOCK) as reservation:
                one.add_block("bob", reservation.key)
        yield one.source, other.source


def keys_per_second(initiator: KeySource, responder: KeySource, keys: int) -> float:
    """Reserve and take *keys* keys of 256 bits."""
    done, start = 0, time.perf_counter()
    with contextlib.suppress(KeysExhaustedError):
        while done < keys:
            with initiator.reserve("bob") as reservation, responder.take(reservation.ref):
                done += 1
    return done / (time.perf_counter() - start)


def measure(quick: bool) -> Iterable[Row]:
    """Measure the stores, and the peer beside each."""
    keys = 20_000 if quick else 200_000
    with tempfile.TemporaryDirectory() as directory:
        stores: dict[str, tuple[PoolStore, PoolStore]] = {
            "memory_keys_per_s": (MemoryStore(), MemoryStore()),
            "sqlite_keys_per_s": (
                SQLiteStore(Path(directory) / "alice"),
                SQLiteStore(Path(directory) / "bob"),
            ),
        }
        for name, (alice, bob) in stores.items():
            with linked(alice, bob, keys) as (initiator, responder):
                rate = keys_per_second(initiator, responder, keys)
            bare = Dictionary()
            peer = keys_per_second(bare, bare, keys)
            yield Row(name, rate, "keys/s", "a dict of keys", rate / peer)


if __name__ == "__main__":
    main("pool", measure)
