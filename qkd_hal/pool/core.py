"""One link of a pool without its threads: both state machines, their store, their memory.

:class:`LinkCore` carries out the effects of the machines in their order and stops at the
first that fails. It is driven by one thread at a time; only :attr:`leases` and
:attr:`openings` are touched by others.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Protocol, TypeAlias

from qkd_hal.errors import ProtocolError
from qkd_hal.keys import wipe
from qkd_hal.link import BlockState, Space, SpaceOwner, SpaceResponder, effects, messages
from qkd_hal.pool.leases import Leases
from qkd_hal.pool.openings import Openings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from qkd_hal.errors import QKDError
    from qkd_hal.keys import KeyRef, Provenance
    from qkd_hal.link import SpaceRecord
    from qkd_hal.pool.leases import Allocation
    from qkd_hal.pool.store import PoolStore

__all__ = ["LinkCore", "LinkHost"]

_ToOwner: TypeAlias = (
    messages.Marks | messages.Stored | messages.Refused | messages.Leased | messages.Released
)
_ToResponder: TypeAlias = (
    messages.Inventory | messages.Offer | messages.Lease | messages.Release | messages.Void
)


class LinkHost(Protocol):
    """What a core needs from the world around it. No call may block for long."""

    def send(self, message: messages.Message) -> None:
        """Send to the peer, or lose the message."""
        ...

    def fetch(self, offer: messages.Offer) -> None:
        """Get the offered bytes from the device, and later call ``fetched``."""
        ...

    def answer(self, number: int, error: QKDError | None) -> None:
        """Tell whoever offered block *number* how it ended."""
        ...

    def notify(self, error: QKDError) -> None:
        """Tell the operator."""
        ...


class LinkCore:
    """The two spaces that *site* shares with *peer*, in the opening named *epoch*."""

    def __init__(
        self,
        store: PoolStore,
        host: LinkHost,
        *,
        site: str,
        peer: str,
        epoch: bytes,
        lease_size: int,
    ) -> None:
        self._store, self._host, self._epoch = store, host, epoch
        self.site, self.peer = site, peer
        self.outgoing, self.incoming = Space(site, peer), Space(peer, site)
        record, blocks = store.load(self.outgoing)
        record = _begun(record, epoch)
        self.owner = SpaceOwner(self.outgoing, record, blocks, epoch=epoch, lease_size=lease_size)
        record, blocks = store.load(self.incoming)
        self.responder = SpaceResponder(self.incoming, record, blocks, epoch=epoch)
        self.leases = Leases()
        self.openings = Openings()
        self._greeted = False
        # Read before the note is erased; shown to takers only once the owner has confirmed it.
        self._remains = {block.number: block.remains or () for block in blocks}
        self._settled = False
        self._run(self.incoming, self.responder.opening())

    # -- the link ------------------------------------------------------------------------

    def connected(self) -> None:
        """A fresh connection is up: greet."""
        self._greeted = False
        self._host.send(
            messages.Hello(
                self.site,
                self._epoch,
                self.responder.continues if not self.responder.contact else b"",
                self.responder.floor,
                self.leases.served,
                self.openings.taken,
            )
        )

    def disconnected(self) -> None:
        """The connection is gone."""
        self._greeted = False
        self._run(self.outgoing, self.owner.disconnected())
        self._run(self.incoming, self.responder.disconnected())

    def receive(self, message: messages.Message) -> None:
        """Act on one message of the current connection.

        Raises:
            ProtocolError: the peer broke the rules; drop the connection.
            StoreError: the store failed; the pool must not go on.
        """
        if isinstance(message, messages.Hello):
            self._greet(message)
        elif not self._greeted:
            raise ProtocolError(f"{self.peer} did not say hello first")
        elif isinstance(message, messages.Report):
            self.owner.on_report(message.taken)
            self.responder.on_report(message.served)
        elif isinstance(message, _ToOwner):
            self._run(self.outgoing, self._owner_effects(message))
        else:
            self._run(self.incoming, self._responder_effects(message))

    def _greet(self, hello: messages.Hello) -> None:
        if hello.site != self.peer or self._greeted:
            raise ProtocolError(f"an unexpected hello from {hello.site}, not {self.peer}")
        self._greeted = True
        self._run(self.incoming, self.responder.on_hello(hello))
        self._run(self.outgoing, self.owner.on_hello(hello))

    def _owner_effects(self, message: _ToOwner) -> list[effects.Effect]:
        match message:
            case messages.Marks():
                return self.owner.on_marks(message)
            case messages.Stored():
                return self.owner.on_stored(message)
            case messages.Refused():
                return self.owner.on_refused(message)
            case messages.Leased():
                return self.owner.on_leased(message)
            case messages.Released():
                return self.owner.on_released(message)

    def _responder_effects(self, message: _ToResponder) -> list[effects.Effect]:
        match message:
            case messages.Inventory():
                return self.responder.on_inventory(message)
            case messages.Offer():
                return self.responder.on_offer(message)
            case messages.Lease():
                return self.responder.on_lease(message, self.openings.taken)
            case messages.Release():
                return self.responder.on_release(message)
            case messages.Void():
                return self.responder.on_void(message)

    # -- requests of this site -----------------------------------------------------------

    def lease(self, size: int) -> None:
        """Ask for a lease of at least *size* bytes; see :meth:`SpaceOwner.lease`."""
        self._run(self.outgoing, self.owner.lease(size, self.leases.served))

    def offer(self, material: bytearray, ref: KeyRef, provenance: Provenance) -> None:
        """Store and offer a block, and wipe *material*; see :meth:`SpaceOwner.offer`."""
        try:
            self._run(self.outgoing, self.owner.offer(material, ref, provenance))
        finally:
            wipe(material)

    def fetched(self, offer: messages.Offer, material: bytearray, provenance: Provenance) -> None:
        """The device gave the bytes of *offer*; *material* is wiped."""
        try:
            self._run(self.incoming, self.responder.fetched(offer, material, provenance))
        finally:
            wipe(material)

    def fetch_failed(self, offer: messages.Offer, error: QKDError) -> None:
        """The device did not give the bytes of *offer*."""
        self._run(self.incoming, self.responder.fetch_failed(offer, error))

    def give_back(self, allocation: Allocation) -> None:
        """Put an unused allocation back, from the store: its bytes in memory are wiped."""
        block = self.owner.blocks.get(allocation.number)
        if block is not None and block.state is BlockState.ACTIVE:
            end = allocation.start + allocation.size
            material = self._store.read(self.outgoing, block.number, allocation.start, end)
            self.leases.regrant(allocation, material)

    def retire(self) -> None:
        """Erase what was served to the end."""
        self._run(self.outgoing, self.owner.retire(self.leases.busy()))

    def expire(self, numbers: Iterable[int]) -> None:
        """Drop spent blocks; see :meth:`SpaceOwner.expire`."""
        self._run(self.outgoing, self.owner.expire(numbers))

    def report(self) -> None:
        """Tell the peer our counters, which is also a sign of life."""
        self._host.send(messages.Report(self.leases.served, self.openings.taken))

    def release(self) -> None:
        """Stop serving as owner and give back what was not served."""
        self._run(self.outgoing, self.owner.release(self.leases.close()))

    def close(self) -> None:
        """Stop handing out and write down what remains. No message may come after this."""
        self.leases.close()
        remains: Mapping[int, Iterable[tuple[int, int]]] = self.openings.close()
        if not self._settled:
            remains = self._remains
        self._run(self.incoming, self.responder.closing(remains))

    def abandon(self) -> None:
        """Fail closed: wipe all memory and write nothing, as a crash would."""
        self.leases.close()
        self.openings.close()

    # -- effects -------------------------------------------------------------------------

    def _run(self, space: Space, todo: list[effects.Effect]) -> None:
        for effect in todo:
            self.perform(space, effect)

    def perform(self, space: Space, effect: effects.Effect) -> None:
        """Carry out one effect of the machine of *space*."""
        match effect:
            case effects.Persist(changes):
                if changes:
                    self._store.apply(space, changes)
            case effects.Send(message):
                self._host.send(message)
            case effects.Fetch(offer):
                self._host.fetch(offer)
            case effects.Answer(number, error):
                self._host.answer(number, error)
            case effects.Notify(error):
                self._host.notify(error)
            case _:
                self._change_memory(space, effect)

    def _change_memory(self, space: Space, effect: effects.Effect) -> None:
        match effect:
            case effects.Grant(block, start, end):
                material = self._store.read(self.outgoing, block.number, start, end)
                self.leases.grant(block.number, start, material, block.provenance)
            case effects.Burn():
                self.leases.burn()
            case effects.Open(block, start, end):
                material = self._store.read(self.incoming, block.number, start, end)
                self.openings.open(block, start, material)
            case effects.Shut(number, start):
                self.openings.shut(number, start)
            case effects.Forget(number):
                (self.leases if space == self.outgoing else self.openings).forget(number)
            case effects.Settle(keep):
                self._settle(keep)
            case _:
                raise AssertionError(effect)

    def _settle(self, keep: bool) -> None:
        remains, self._remains = self._remains, {}
        self._settled = True
        if not keep:
            self.openings.burn()
            return
        for number, ranges in remains.items():
            block = self.responder.blocks.get(number)
            if block is None:
                continue
            for start, end in ranges:
                material = self._store.read(self.incoming, number, start, end)
                self.openings.open(block, start, material)


def _begun(record: SpaceRecord, epoch: bytes) -> SpaceRecord:
    """Let a space that begins number its blocks from a random place on.

    When both sites begin anew under one link secret, the key IDs of before must name nothing:
    whoever kept them could drain the pool.
    """
    return record if record.floor else replace(record, floor=int.from_bytes(epoch[:5], "big") >> 1)
