"""One link of a running pool: the thread that drives a :class:`LinkCore`.

The thread takes tasks from one bounded queue: messages of the current connection, requests of
this site, and its own housekeeping. So the state machines need no lock, and what they persist
and send keeps its order. Callers of ``reserve`` and ``take`` touch only the memory of leases
and openings; they wait for this thread only when no lease is left.
"""

from __future__ import annotations

import logging
import os
import queue
import time
from collections import deque
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from functools import partial
from threading import Event, Thread
from typing import TYPE_CHECKING

from qkd_hal.errors import (
    DeadlineError,
    KeysExhaustedError,
    LinkError,
    ProtocolError,
    QKDError,
    StateError,
    StoreError,
)
from qkd_hal.link.records import BlockState
from qkd_hal.pool.connection import Connection
from qkd_hal.pool.core import LinkCore
from qkd_hal.pool.fetcher import Fetcher

if TYPE_CHECKING:
    from collections.abc import Callable

    from qkd_hal.keys import KeyRef, Provenance
    from qkd_hal.link.messages import Message, Offer
    from qkd_hal.pool.leases import Allocation
    from qkd_hal.pool.store import PoolStore
    from qkd_hal.pool.transport import FrameSocket, Transport
    from qkd_hal.sources import KeySource

__all__ = ["LinkWorker"]

_log = logging.getLogger("qkd_hal.pool")

INBOX = 256  # tasks; a full inbox stops the socket's reader, and so the peer
TICK = 1.0  # seconds between rounds of housekeeping, each with a sign of life
LEASE_TIMEOUT = 5.0  # seconds that reserve() waits for the peer to open a range
RELEASE_TIMEOUT = 2.0  # seconds that close() waits for the peer to take leases back
EVENTS = 16  # faults kept for the status


class LinkWorker:
    """The link of *site* to *peer*; one thread, and the threads of its transport and fetcher."""

    def __init__(
        self,
        store: PoolStore,
        *,
        site: str,
        peer: str,
        secret: bytes,
        connects: bool,
        lease_size: int,
        linger: float,
    ) -> None:
        self.peer = peer
        self.events: deque[str] = deque(maxlen=EVENTS)
        self.failed: StoreError | None = None
        self.core = LinkCore(
            store, self, site=site, peer=peer, epoch=os.urandom(16), lease_size=lease_size
        )
        self._site, self._secret, self._connects = site, secret, connects
        self._refresh_below = lease_size // 2
        self._linger = linger
        self._spent_since: dict[int, float] = {}
        self._inbox: queue.Queue[Callable[[], None]] = queue.Queue(INBOX)
        self._current: Connection | None = None
        self._wanting: list[Future[None]] = []
        self._offering: dict[int, Future[int]] = {}
        self._refreshing = self._refusing = False
        self._stopping = self._releasing = False
        self._released = Event()
        self.watchers: list[Event] = []  # set whenever a level or the contact may have changed
        self._transport: Transport | None = None
        self._fetcher = Fetcher(peer, self._fetched, self._fetch_failed)
        self._thread = Thread(target=self._work, name=f"qkd-pool-{peer}", daemon=True)

    # -- any thread ----------------------------------------------------------------------

    def start(self, transport: Transport) -> None:
        """Run on the connections of *transport*."""
        self._transport = transport
        self._thread.start()
        self._fetcher.start()
        transport.start()

    @property
    def connected(self) -> bool:
        """The peer's marks were heard and the connection is up."""
        return self.core.owner.ready

    def accept_blocks(self, source: KeySource) -> None:
        """Fetch offered blocks from *source*."""
        self._fetcher.source = source

    def allocate(self, size: int) -> Allocation:
        """Hand out *size* bytes from a lease; wait for one only when none has them."""
        allocation = self.core.leases.allocate(size)
        if allocation is None:
            allocation = self._wait_for_lease(size)
        if self.core.leases.room < self._refresh_below and not self._refreshing:
            self._refreshing = True
            self._post(self._refresh)
        return allocation

    def _wait_for_lease(self, size: int) -> Allocation:
        until = time.monotonic() + LEASE_TIMEOUT
        while (left := until - time.monotonic()) > 0:
            self._require_contact()
            granted: Future[None] = Future()
            self._post(partial(self._want, size, granted))
            try:
                granted.result(left)
            except FutureTimeout:
                break
            allocation = self.core.leases.allocate(size)
            if allocation is not None:
                return allocation
        raise DeadlineError(f"{self.peer} granted no lease in {LEASE_TIMEOUT:g} seconds")

    def require_sound(self) -> None:
        """Raise :class:`StoreError` once the store has failed."""
        if self.failed:
            raise StoreError(f"the pool has failed: {self.failed}", cure="Repair, then restart")

    def _require_contact(self) -> None:
        self.require_sound()
        if not self.core.owner.contact:
            raise LinkError(
                f"the pool of {self.peer} was not heard since this one was opened",
                cure="Check that it runs, and the link address in both qkd-hal.toml",
            )

    def give_back(self, allocation: Allocation) -> None:
        """Return an allocation whose bytes and ID were never used."""
        self._post(partial(self.core.give_back, allocation))

    def offer(
        self, material: bytearray, ref: KeyRef, provenance: Provenance, timeout: float
    ) -> int:
        """Store and offer a block; return its number once both ends have it."""
        done: Future[int] = Future()
        self._post(partial(self._offer, material, ref, provenance, done))
        try:
            return done.result(timeout)
        except FutureTimeout:
            raise DeadlineError(f"{self.peer} did not answer for a block", device=None) from None

    def refuse_offers(self) -> None:
        """Wake whoever waits for a block to be stored, and take no more: the pool closes."""
        self._post(self._refuse_offers)

    def close(self) -> None:
        """Give leases back, end the connection, write down what remains, stop the thread."""
        if self._transport is None:
            self.core.close()
            return
        self._released.clear()  # a connection that broke before now set it
        self._post(self._release)
        self._released.wait(RELEASE_TIMEOUT)
        self._transport.close()
        self._fetcher.close()
        self._post(self._finish)
        self._thread.join()

    def serve(self, frames: FrameSocket) -> None:
        """Run one connection to its end; called in a thread of the transport."""
        connection = self._authenticate(frames)
        self._post(partial(self._up, connection))
        try:
            while True:
                self._post(partial(self._receive, connection, connection.receive()))
        finally:
            self._post(partial(self._down, connection))

    def _authenticate(self, frames: FrameSocket) -> Connection:
        try:
            return Connection(
                frames, self._secret, site=self._site, peer=self.peer, connects=self._connects
            )
        except ProtocolError as error:
            # Who listens hears strangers all day; who connects has a wrong secret or address.
            if self._connects:
                self.notify(error)
            raise

    def _post(self, task: Callable[[], None]) -> None:
        while True:
            if self._stopping and not self._thread.is_alive():
                return
            try:
                self._inbox.put(task, timeout=1.0)
            except queue.Full:
                continue
            return

    # -- LinkHost: called by the core, in the worker's thread ----------------------------

    def send(self, message: Message) -> None:
        """Send to the peer, or lose the message."""
        connection = self._current
        if connection is None:
            return
        try:
            connection.send(message)
        except QKDError as error:
            _log.info("link to %s broke: %s", self.peer, error)
            self._down(connection)

    def fetch(self, offer: Offer) -> None:
        """Hand the offer to the fetcher's thread."""
        self._fetcher.put(offer)

    def answer(self, number: int, error: QKDError | None) -> None:
        """Wake whoever offered the block."""
        done = self._offering.pop(number, None)
        if done is not None:
            _finish(done, number, error)
        self._changed()

    def notify(self, error: QKDError) -> None:
        """Log a fault that the link survived, and keep it for the status."""
        _log.error("link to %s: %s", self.peer, error)
        self.events.append(f"[{error.code}] {error}")

    # -- the worker's thread -------------------------------------------------------------

    def _work(self) -> None:
        next_tick = time.monotonic() + TICK
        while not self._stopping:
            try:
                task = self._inbox.get(timeout=max(0.0, next_tick - time.monotonic()))
            except queue.Empty:
                task = self._tick
                next_tick = time.monotonic() + TICK
            self._run(task)

    def _run(self, task: Callable[[], None]) -> None:
        try:
            task()
        except StoreError as error:
            self._fail(error)
        except ProtocolError as error:
            self.notify(error)
            self._drop_connection()
        except Exception as error:  # noqa: BLE001 - see below
            # A bug: without this, the thread dies and everybody who waits for it hangs.
            _log.exception("the pool's link to %s met a bug", self.peer)
            self._fail(StoreError(f"a bug in the pool: {type(error).__name__}"))

    def _fail(self, error: StoreError) -> None:
        """What memory says and what the store says may differ now: serve nothing more."""
        self.failed = error
        self.notify(error)
        self.core.abandon()
        self._drop_connection()

    def _drop_connection(self) -> None:
        if self._current is not None:
            self._down(self._current)

    def _up(self, connection: Connection) -> None:
        self._drop_connection()
        if self.failed:
            connection.close()
            return
        self._current = connection
        self.core.connected()

    def _down(self, connection: Connection) -> None:
        connection.close()
        if connection is not self._current:
            return
        self._current = None
        self.core.disconnected()
        cut = _cut(self.peer)
        for number in list(self._offering):
            self.answer(number, cut)
        self._settle_waiters(cut)
        self._released.set()

    def _receive(self, connection: Connection, message: Message) -> None:
        if connection is not self._current:
            return
        granted_before = self.core.leases.room
        self.core.receive(message)
        if self.core.leases.room > granted_before:
            self._settle_waiters(None)
        if self._releasing and not self.core.owner.releasing:
            self._released.set()
        self._changed()

    def _changed(self) -> None:
        self._refreshing = False
        self._wake_watchers()

    def _wake_watchers(self) -> None:
        for watcher in list(self.watchers):
            watcher.set()

    def _want(self, size: int, granted: Future[None]) -> None:
        if self.core.leases.fits(size):
            granted.set_result(None)
            return
        try:
            if self.core.owner.waiting < size:
                self.core.lease(size)
                self._changed()
        except (KeysExhaustedError, LinkError) as error:
            granted.set_exception(error)
            return
        self._wanting.append(granted)

    def _settle_waiters(self, error: QKDError | None) -> None:
        wanting, self._wanting = self._wanting, []
        for granted in wanting:
            _finish(granted, None, error)

    def _refresh(self) -> None:
        # `_refreshing` stays set until the peer's next message: a stock that is all leased
        # must not wake this thread, and so stall the handshakes, for every key.
        owner = self.core.owner
        if owner.ready and owner.waiting == 0 and owner.available:
            self.core.lease(1)
            self._wake_watchers()

    def _refuse_offers(self) -> None:
        self._refusing = True
        for number in list(self._offering):
            self.answer(number, _closing())

    def _offer(
        self, material: bytearray, ref: KeyRef, provenance: Provenance, done: Future[int]
    ) -> None:
        if self._refusing:
            done.set_exception(_closing())
            return
        try:
            self.core.offer(material, ref, provenance)
        except QKDError as error:
            done.set_exception(error)
            if isinstance(error, StoreError):
                raise
        else:
            self._offering[self.core.owner.floor] = done
            if self._current is None:  # it broke under the offer, when nobody waited yet
                self.answer(self.core.owner.floor, _cut(self.peer))

    def _fetched(self, offer: Offer, material: bytearray, provenance: Provenance) -> None:
        self._post(partial(self.core.fetched, offer, material, provenance))

    def _fetch_failed(self, offer: Offer, error: QKDError) -> None:
        self._post(partial(self.core.fetch_failed, offer, error))

    def _tick(self) -> None:
        if self.failed:
            return
        self.core.report()
        self.core.retire()
        self._expire()

    def _expire(self) -> None:
        now = time.monotonic()
        blocks = self.core.owner.blocks.values()
        spent = [block.number for block in blocks if block.state is BlockState.SPENT]
        self._spent_since = {number: self._spent_since.get(number, now) for number in spent}
        self.core.expire(
            number for number, since in self._spent_since.items() if now - since > self._linger
        )

    def _release(self) -> None:
        self._releasing = True
        self.core.release()
        if not self.core.owner.releasing:
            self._released.set()

    def _finish(self) -> None:
        self._stopping = True
        self._settle_waiters(_closing())
        if not self.failed:
            self.core.close()


def _finish(future: Future[None] | Future[int], value: object, error: QKDError | None) -> None:
    """Resolve *future*; harmless when its caller gave up."""
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(value)  # type: ignore[arg-type]


def _cut(peer: str) -> LinkError:
    return LinkError(f"the link to {peer} was cut")


def _closing() -> StateError:
    return StateError("the pool was closed")
