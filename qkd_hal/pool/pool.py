"""The quantum key pool of one site: the :class:`KeySource` that applications get.

A pool shares one directed space per direction with each peer. ``reserve`` serves from ranges
that are already recorded as consumed at both ends, and ``take`` from ranges that are already
recorded as taken, so that neither writes anything for a single key: a crash burns the rest of
what was leased, and a clean close writes down exactly what remains.
"""

from __future__ import annotations

import logging
import os
from functools import reduce
from threading import Event, Lock
from typing import TYPE_CHECKING

from qkd_hal.errors import (
    KeyConsumedError,
    KeyNotFoundError,
    LinkError,
    StateError,
    UsageError,
)
from qkd_hal.key_ids import MAX_LENGTH, KeyIdSealer, KeyPlace
from qkd_hal.keys import KeyId, KeyRef, Origin, Provenance, QuantumKey, check_name
from qkd_hal.link import key_id_secret
from qkd_hal.pool.limits import FailureLimit
from qkd_hal.pool.status import PoolStatus, SpaceStatus
from qkd_hal.pool.transport import Dialer, Listener, parse_endpoint
from qkd_hal.pool.worker import LinkWorker
from qkd_hal.sources import Deadline, Reservation

if TYPE_CHECKING:
    from collections.abc import Callable

    from qkd_hal.pool.store import PoolStore
    from qkd_hal.sources import KeySource

__all__ = ["Pool", "PoolSource"]

LEASE_SIZE = 16 * 1024  # bytes: what a crash burns at most twice over; 512 keys of 256 bits
LINGER = 60.0  # seconds that a reserved key may be in flight before its peer erases it
BLOCK_TIMEOUT = 30.0  # seconds for the peer to fetch a block from its device and store it

_log = logging.getLogger("qkd_hal.pool")
_audit = logging.getLogger("qkd_hal.pool.audit")


class Pool:
    """The pool of *site* on *store*, which it owns and closes. A context manager.

    *lease_size*: bytes of key that are leased at once. *linger*: seconds that the peer keeps
    the rest of a block whose keys are all reserved.
    """

    def __init__(
        self,
        store: PoolStore,
        *,
        site: str,
        lease_size: int = LEASE_SIZE,
        linger: float = LINGER,
    ) -> None:
        self.site = check_name(site)
        self.source = PoolSource(self)
        self._store = store
        self._lease_size, self._linger = lease_size, linger
        self._links: dict[str, _Link] = {}
        self._sources: list[KeySource] = []
        self._lock = Lock()
        self._closers: list[Callable[[], None]] = []
        self._closed = False
        self._pid = os.getpid()

    def link(
        self,
        peer: str,
        endpoint: str,
        *,
        listen: bool,
        secret: bytes,
        source: KeySource | None = None,
    ) -> str:
        """Share keys with *peer* over ``tcp://host:port``, where one end must *listen*.

        Returns the address with the real port. Connecting goes on in the background and
        starts again whenever the connection breaks; see :meth:`wait_ready`. *source*: where
        blocks that the peer offers come from, from the first moment on; see
        :meth:`accept_blocks`.

        Raises:
            UsageError: *peer* is linked already, or is this site.
            ConfigurationError: *endpoint* is malformed.
            LinkError: cannot listen there.
        """
        check_name(peer)
        with self._lock:
            self._require_open()
            if peer == self.site or peer in self._links:
                raise UsageError(f"{self.site} cannot be linked to {peer} (again)")
            parse_endpoint(endpoint)
            link = self._links[peer] = self._start(peer, endpoint, listen, secret, source)
            self._remember(source)
        return link.address

    def _start(
        self, peer: str, endpoint: str, listen: bool, secret: bytes, source: KeySource | None
    ) -> _Link:
        worker = LinkWorker(
            self._store,
            site=self.site,
            peer=peer,
            secret=secret,
            connects=not listen,
            lease_size=self._lease_size,
            linger=self._linger,
        )
        try:
            transport = (Listener if listen else Dialer)(endpoint, worker.serve)
        except LinkError:
            worker.close()  # writes the note of what remains again
            raise
        if source is not None:
            worker.accept_blocks(source)
        worker.start(transport)
        return _Link(worker, transport.address, secret, self.site, peer)

    def wait_ready(self, peer: str, timeout: float = 10.0) -> None:
        """Wait until *peer* was heard and the link is up.

        Raises:
            DeadlineError: it was not, within *timeout* seconds.
        """
        worker = self._link(peer).worker
        deadline, changed = Deadline(timeout), Event()
        worker.watchers.append(changed)
        try:
            while not worker.connected:
                deadline.check(f"waiting for the pool of {peer}")
                changed.wait(deadline.remaining())
                changed.clear()
        finally:
            worker.watchers.remove(changed)

    # -- filling -------------------------------------------------------------------------

    def accept_blocks(self, peer: str, source: KeySource) -> None:
        """Get the blocks that *peer* offers from *source*, the device at our end."""
        self._link(peer).worker.accept_blocks(source)
        self._remember(source)

    def _remember(self, source: KeySource | None) -> None:
        if source is not None and not any(source is known for known in self._sources):
            self._sources.append(source)

    def add_block(self, peer: str, key: QuantumKey, timeout: float = BLOCK_TIMEOUT) -> int:
        """Put *key* into the space that we own towards *peer*; return the block's number.

        ``key.ref`` names it at the device, where the peer fetches the same bytes. Returns when
        both ends have stored it durably; if they cannot, both void it. The key is spent either way.

        Raises:
            KeyMismatchError: the devices gave different bytes.
            LinkError: the peer is out of touch or refused.
            DeadlineError: no answer within *timeout* seconds; it may still come, and the block
                is then served.
        """
        if key.ref is None:
            raise UsageError("a block needs the reference under which the peer can fetch it")
        link, provenance, ref = self._link(peer), key.provenance, key.ref
        with key.exposed() as view:
            material = bytearray(view)
        return link.worker.offer(material, ref, provenance, timeout)

    def add_closer(self, close: Callable[[], None]) -> None:
        """Call *close* first of all when the pool closes, so that no filler outlives it."""
        self._closers.append(close)

    def watch_level(self, peer: str, changed: Event) -> None:
        """Set *changed* whenever :meth:`level` may have changed."""
        self._link(peer).worker.watchers.append(changed)

    def level(self, peer: str) -> int:
        """Return how many bytes towards *peer* are not leased yet."""
        owner = self._link(peer).worker.core.owner
        return owner.available + owner.offered

    # -- serving -------------------------------------------------------------------------

    def reserve(self, peer: str, size: int) -> Reservation:
        """See :meth:`KeySource.reserve`."""
        link = self._link(peer)
        _check_size(size)
        allocation = link.worker.allocate(size)
        place = KeyPlace(allocation.number, allocation.start, size)
        ref = KeyRef(self.site, link.outgoing.seal(place))
        key = QuantumKey(allocation.material, provenance=allocation.provenance, ref=ref)
        return Reservation(ref, key, lambda: link.worker.give_back(allocation))

    def take(self, ref: KeyRef, size: int) -> QuantumKey:
        """See :meth:`KeySource.take`."""
        link = self._link_of(ref)
        _check_size(size)
        link.worker.require_sound()
        if link.limit.exceeded():
            raise KeyNotFoundError(f"too many key IDs of {ref.source} failed", key_id=ref.key_id)
        try:
            found = link.take(ref.key_id, size)
        except KeyNotFoundError:
            link.limit.failed()
            raise
        _audit.info("key %s taken, %d bytes", ref, size)
        return QuantumKey(found[0], provenance=found[1], ref=ref)

    def can_serve(self, peer: str, bits: int) -> bool:
        """See :meth:`KeySource.can_serve`."""
        link = self._links.get(peer)
        if link is None or self._closed or self._pid != os.getpid() or link.worker.failed:
            return False
        core = link.worker.core
        return core.owner.contact and (core.leases.room + core.owner.available) * 8 >= bits

    @property
    def provenance(self) -> Provenance:
        """The least trusted of what is stored and of the devices that fill the pool."""
        parts = [source.provenance for source in self._sources]
        for link in self._links.values():
            core = link.worker.core
            blocks = [*core.owner.blocks.values(), *core.responder.blocks.values()]
            parts += [block.provenance for block in blocks]
        if not parts:
            return Provenance(Origin.UNKNOWN)
        # Every handshake asks, and hundreds of blocks come from one device: combine each once.
        return reduce(Provenance.combined, dict.fromkeys(parts))

    def status(self) -> PoolStatus:
        """Report every link."""
        spaces = tuple(link.status() for link in self._links.values())
        return PoolStatus(self.site, str(self.provenance), spaces)

    def close(self) -> None:
        """Give leases back, write down what remains, close the store; idempotent."""
        with self._lock:
            if self._closed or self._pid != os.getpid():
                return
            self._closed = True
        for link in self._links.values():
            link.worker.refuse_offers()
        for close in self._closers:
            close()
        for link in self._links.values():
            link.worker.close()
        self._store.close()

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _require_open(self) -> None:
        if self._pid != os.getpid():
            raise KeyConsumedError("a pool does not survive fork(); open one in the child")
        if self._closed:
            raise StateError(f"the pool of {self.site} is closed; open it again")

    def _link(self, peer: str) -> _Link:
        self._require_open()
        link = self._links.get(peer)
        if link is None:
            raise UsageError(f"{self.site} has no link to {peer}", cure="Call link() first")
        return link

    def _link_of(self, ref: KeyRef) -> _Link:
        self._require_open()
        link = self._links.get(ref.source)
        if link is None:  # also our own keys: nobody may reflect them at us
            raise KeyNotFoundError(f"{ref.source} shares no keys with us", key_id=ref.key_id)
        return link


class PoolSource:
    """The pool as TLS and others see it: a :class:`qkd_hal.sources.KeySource`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    @property
    def provenance(self) -> Provenance:
        """The least trusted provenance among the keys that may be served."""
        return self._pool.provenance

    def reserve(self, peer: str, size: int = 32) -> Reservation:
        """Set a fresh key aside that *peer* can take.

        Raises:
            KeysExhaustedError: there is not enough key for *peer* now.
            LinkError: the peer was not heard since opening.
            DeadlineError: the peer granted no lease in time.
        """
        return self._pool.reserve(peer, size)

    def take(self, ref: KeyRef, size: int = 32) -> QuantumKey:
        """Hand out the key that the peer named, once.

        Raises:
            KeyNotFoundError: forged, unknown, expired, of another size, or taken before.
            LinkError: the peer was not heard since opening.
        """
        return self._pool.take(ref, size)

    def can_serve(self, peer: str, bits: int) -> bool:
        """Hint whether *bits* could be reserved for *peer* now; never a promise."""
        return self._pool.can_serve(peer, bits)


class _Link:
    """What the pool keeps about one peer."""

    def __init__(
        self, worker: LinkWorker, address: str, secret: bytes, site: str, peer: str
    ) -> None:
        self.worker, self.address, self.peer = worker, address, peer
        self.limit = FailureLimit()
        sealing = key_id_secret(secret)
        self.outgoing = KeyIdSealer(sealing, f"{site}>{peer}".encode())
        self.incoming = KeyIdSealer(sealing, f"{peer}>{site}".encode())

    def take(self, key_id: KeyId, size: int) -> tuple[bytearray, Provenance]:
        """Hand out what *key_id* names, if it is *size* bytes; a forged ID stops at its seal."""
        place = self.incoming.open(key_id)
        core = self.worker.core
        if not core.responder.contact:
            raise LinkError(f"the pool of {self.peer} was not heard since this one was opened")
        found = None
        if place.length == size:
            found = core.openings.take(place.block, place.offset, size)
        if found is None:
            raise KeyNotFoundError("unknown, expired or taken before", key_id=key_id)
        return found

    def status(self) -> SpaceStatus:
        core = self.worker.core
        return SpaceStatus(
            peer=self.peer,
            connected=self.worker.connected,
            available=core.owner.available,
            leased=core.leases.room,
            takeable=core.openings.open_bytes(),
            served=core.leases.served,
            taken=core.openings.taken,
            refused=self.limit.count,
            blocks=len(core.owner.blocks),
            events=tuple(self.worker.events),
        )


def _check_size(size: int) -> None:
    if not 1 <= size <= MAX_LENGTH:
        raise UsageError(f"a key has 1 to {MAX_LENGTH} bytes, not {size}")
