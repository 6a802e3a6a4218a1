"""A toy device pair, and pools of two sites linked over loopback."""

from __future__ import annotations

import contextlib
import random
import threading
from typing import TYPE_CHECKING

import pytest

from qkd_hal.errors import KeyNotFoundError, KeysExhaustedError, StoreError
from qkd_hal.keys import KeyId, KeyRef, Origin, Provenance, QuantumKey
from qkd_hal.pool import Filler, MemoryStore, Pool
from qkd_hal.sources import Reservation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qkd_hal.pool import PoolStore
    from qkd_hal.pool.worker import LinkWorker

SECRET = bytes(range(32))


class ToyDevice:
    """One end of a device pair: what one end reserves, the other takes once."""

    def __init__(self, site: str, shared: dict[KeyRef, bytes], budget: int = 1 << 30) -> None:
        self.site, self._shared, self.budget = site, shared, budget
        self.corrupt = False
        self.on_exhausted: Callable[[], None] = lambda: None
        self.history: dict[KeyRef, bytes] = {}
        self._random = random.Random(site)
        self.provenance = Provenance(Origin.SIMULATED)

    def reserve(self, peer: str, size: int = 32) -> Reservation:
        if self.budget < size:
            self.on_exhausted()
            raise KeysExhaustedError(f"no photons for {peer}")
        self.budget -= size
        ref = KeyRef(self.site, KeyId.random())
        self._shared[ref] = self.history[ref] = self._random.randbytes(size)
        key = QuantumKey(self._shared[ref], provenance=self.provenance, ref=ref)
        return Reservation(ref, key)

    def take(self, ref: KeyRef, size: int = 32) -> QuantumKey:
        try:
            material = bytearray(self._shared.pop(ref))
        except KeyError:
            raise KeyNotFoundError("not at this device", key_id=ref.key_id) from None
        assert len(material) == size
        material[0] ^= self.corrupt
        return QuantumKey(material, provenance=self.provenance, ref=ref)

    def can_serve(self, peer: str, bits: int) -> bool:
        return bool(peer) and self.budget * 8 >= bits


class TwoSites:
    """Pools of alice and bob with a device pair between them; either may be restarted."""

    def __init__(self, stores: Callable[[str], PoolStore], **options: float) -> None:
        self._stores, self._options = stores, options
        self.stack = contextlib.ExitStack()
        self.shared: dict[KeyRef, bytes] = {}
        self.devices = {name: ToyDevice(name, self.shared) for name in ("alice", "bob")}
        self.address = "tcp://127.0.0.1:0"
        self.alice = self.start("alice")
        self.bob = self.start("bob")

    def start(self, site: str) -> Pool:
        pool = self.stack.enter_context(Pool(self._stores(site), site=site, **self._options))  # type: ignore[arg-type]
        if site == "alice":
            self.address = pool.link("bob", self.address, listen=True, secret=SECRET)
            self.alice = pool
        else:
            pool.link("alice", self.address, listen=False, secret=SECRET)
            self.bob = pool
        return pool

    def ready(self) -> TwoSites:
        self.alice.wait_ready("bob")
        self.bob.wait_ready("alice")
        return self

    def crash(self, site: str) -> None:
        """End a pool as a crash would: nothing is written, the memory is gone."""
        pool: Pool = getattr(self, site)
        worker = _worker(pool)
        worker._post(lambda: worker._fail(StoreError("power lost")))
        pool.close()

    def cut(self) -> None:
        """Break the connection; it comes back by itself."""
        worker = _worker(self.alice)
        worker._post(worker._drop_connection)
        flush(self.alice)

    def flush(self) -> None:
        """Wait until both workers have done what they were asked to do."""
        flush(self.alice)
        flush(self.bob)

    def fill(self, blocks: int = 1, size: int = 4096) -> None:
        """Put blocks into alice's space towards bob."""
        self.bob.accept_blocks("alice", self.devices["bob"])
        for _ in range(blocks):
            with self.devices["alice"].reserve("bob", size) as reservation:
                self.alice.add_block("bob", reservation.key)

    def fillers(self, low_water: int = 8192, high_water: int = 16384) -> tuple[Filler, Filler]:
        answering = Filler(self.bob, "alice", self.devices["bob"], fill=False).start()
        return (
            Filler(
                self.alice,
                "bob",
                self.devices["alice"],
                low_water=low_water,
                high_water=high_water,
            ).start(),
            answering,
        )


def _worker(pool: Pool) -> LinkWorker:
    (link,) = pool._links.values()
    return link.worker


def flush(pool: Pool) -> None:
    """Wait until the pool's worker has done what it was asked to do."""
    done = threading.Event()
    _worker(pool)._post(done.set)
    assert done.wait(5)


@pytest.fixture
def two_sites() -> Iterator[Callable[..., TwoSites]]:
    """Return a maker of linked pools, on memory unless given ``stores``."""
    with contextlib.ExitStack() as stack:

        def make(
            stores: Callable[[str], PoolStore] = lambda _: MemoryStore(), **options: float
        ) -> TwoSites:
            sites = TwoSites(stores, **options)
            stack.callback(sites.stack.close)
            return sites.ready()

        yield make
