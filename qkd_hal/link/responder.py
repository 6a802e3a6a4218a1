"""The responder's half of a directed space: who may take keys, as a state machine without I/O.

A block at its responder, and what is durable before what is said:

======  =============================  ==================  =========================  ======
state   event                          durable first       then                       next
======  =============================  ==================  =========================  ======
none    Offer                          nothing             fetch from the device      none
none    ``fetched``, tag fits          block, floor        send Stored                ACTIVE
none    ``fetched``, tag differs       nothing             wipe, send Refused         none
ACTIVE  Lease                          mark := end         open range, send Leased    ACTIVE
ACTIVE  Release                        mark := its mark    shut range, send Released  ACTIVE
ACTIVE  Void, or not in the Inventory  drop                forget                     none
ACTIVE  ``closing`` (clean close)      remains, epoch      nothing                    ACTIVE
ACTIVE  ``opening``                    no remains          wait for the owner         ACTIVE
======  =============================  ==================  =========================  ======

A mark is pessimistic: everything below it counts as taken after a crash. So a key needs no
write of its own when it is taken; that its bytes may have left was durable before the owner
could name them. Only a clean close writes down what exactly remains, and the next opening
erases that note before it serves, so that it counts once. Whether the note is the latest is
for the owner to say, who remembers the epoch that it met last: a note from a restored backup
names an older one, and is burned.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from qkd_hal.errors import KeyMismatchError, ProtocolError, QKDError, StoreError
from qkd_hal.key_ids import MAX_BLOCK
from qkd_hal.link.check import same_block
from qkd_hal.link.effects import (
    DropBlock,
    Fetch,
    Forget,
    Notify,
    Open,
    Persist,
    PutBlock,
    PutSpace,
    Send,
    Settle,
    Shut,
)
from qkd_hal.link.messages import Leased, Marks, Refused, Released, Stored
from qkd_hal.link.owner import history_alarm
from qkd_hal.link.records import MAX_BLOCKS, BlockRecord, BlockState, Space, SpaceRecord

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from qkd_hal.keys import Provenance
    from qkd_hal.link.effects import Change, Effect
    from qkd_hal.link.messages import Hello, Inventory, Lease, Offer, Release, Void

__all__ = ["SpaceResponder"]

MAX_FETCHES = 8  # offers being fetched at once; an owner that sends more is broken


class SpaceResponder:
    """Responder of *space*. Every method returns the effects to carry out, in order."""

    def __init__(
        self, space: Space, record: SpaceRecord, blocks: Iterable[BlockRecord], *, epoch: bytes
    ) -> None:
        self.space = space
        self.blocks = {block.number: block for block in sorted(blocks, key=lambda one: one.number)}
        self.contact = False  # the owner's inventory was heard in this epoch
        self.continues = record.closed  # the epoch that the remains at opening belong to
        self._ready = False
        self._record = record
        self._epoch = epoch
        self._fetching: dict[int, Offer] = {}
        self._owner_epoch: bytes = b""
        self._served = 0
        self._keep_owner = True

    @property
    def floor(self) -> int:
        """The highest block number ever seen."""
        return self._record.floor

    # -- opening and closing -------------------------------------------------------------

    def opening(self) -> list[Effect]:
        """Erase the note of what remained; the caller has read it and shows it to nobody yet."""
        changes = [self._set(replace(block, remains=None)) for block in self.blocks.values()]
        return [self._put(replace(self._record, closed=b""), *changes)]

    def closing(self, remains: Mapping[int, Iterable[tuple[int, int]]]) -> list[Effect]:
        """Write down what exactly may still be taken; the caller has stopped handing out.

        An opening that never met the owner changed nothing, and passes the older note on.
        """
        closed = self._epoch if self.contact else self.continues
        changes = [
            self._set(replace(self.blocks[number], remains=tuple(ranges)))
            for number, ranges in remains.items()
            if number in self.blocks
        ]
        return [self._put(replace(self._record, closed=closed), *changes)]

    # -- the link comes and goes ---------------------------------------------------------

    def on_hello(self, hello: Hello) -> list[Effect]:
        """Compare the owner's counter with what it reported before in the same epoch."""
        self.disconnected()
        same = hello.epoch == self._owner_epoch
        self._keep_owner = not (same and hello.served < self._served)
        self._owner_epoch, self._served = hello.epoch, hello.served
        return []

    def on_inventory(self, inventory: Inventory) -> list[Effect]:
        """The owner listed its blocks: drop all others, and answer with our marks.

        Ours rise to the owner's: should the owner be rolled back next, we remember for it.
        """
        theirs = {number: (size, mark) for number, size, mark in inventory.blocks}
        gone = [
            one.number
            for one in self.blocks.values()
            if theirs.get(one.number, (0,))[0] != one.size
        ]
        for number in gone:
            del self.blocks[number]
        raised = [self._raise_mark(one, theirs[one.number][1]) for one in [*self.blocks.values()]]
        floor = max(self._record.floor, inventory.floor)
        drops = [DropBlock(number) for number in gone]
        self.contact = self._ready = True
        marks = tuple((block.number, block.mark) for block in self.blocks.values())
        suspicious = not self._keep_owner
        return [
            self._put(replace(self._record, floor=floor), *drops, *raised),
            *(Forget(number) for number in gone),
            Settle(inventory.keep),
            *([Notify(history_alarm(self.space))] if suspicious else []),
            Send(Marks(self._keep_owner, marks)),
        ]

    def _raise_mark(self, block: BlockRecord, mark: int) -> Change:
        if mark > block.usable:
            raise ProtocolError(f"{self.space.source} has a mark outside block {block.number}")
        return self._set(replace(block, mark=max(mark, block.mark)))

    def disconnected(self) -> list[Effect]:
        """The connection broke; what was opened stays good."""
        self._ready = False
        self._fetching.clear()
        return []

    # -- filling -------------------------------------------------------------------------

    def on_offer(self, offer: Offer) -> list[Effect]:
        """The owner has a fresh block: fetch the same bytes from our device."""
        self._require_ready()
        if not self._record.floor < offer.number <= MAX_BLOCK or offer.number in self._fetching:
            raise ProtocolError(f"{self.space.source} used block number {offer.number} before")
        if len(self._fetching) >= MAX_FETCHES:
            raise ProtocolError(f"{self.space.source} offers more than {MAX_FETCHES} blocks")
        if len(self.blocks) >= MAX_BLOCKS:
            return [Send(Refused(offer.number, StoreError.code))]
        self._fetching[offer.number] = offer
        return [Fetch(offer)]

    def fetched(self, offer: Offer, material: bytearray, provenance: Provenance) -> list[Effect]:
        """The device gave *material*: store it if it is what the owner has."""
        if self._fetching.pop(offer.number, None) is not offer:
            material[:] = bytes(len(material))  # of a connection that broke: the owner voided it
            return []
        if len(material) != offer.size or not same_block(offer.number, material, offer.tag):
            material[:] = bytes(len(material))
            return [Send(Refused(offer.number, KeyMismatchError.code)), Notify(self._mismatch())]
        block = BlockRecord(
            offer.number,
            offer.size,
            provenance.combined(offer.provenance),
            BlockState.ACTIVE,
            origin=offer.ref,
        )
        self.blocks[offer.number] = block
        floor = max(self._record.floor, offer.number)
        return [
            self._put(replace(self._record, floor=floor), PutBlock(block, material)),
            Send(Stored(offer.number, block.provenance)),
        ]

    def fetch_failed(self, offer: Offer, error: QKDError) -> list[Effect]:
        """The device did not give the block."""
        if self._fetching.pop(offer.number, None) is not offer:
            return []
        return [Send(Refused(offer.number, error.code))]

    def _mismatch(self) -> KeyMismatchError:
        return KeyMismatchError(f"{self.space} got different bytes at its two ends")

    # -- leases --------------------------------------------------------------------------

    def on_lease(self, lease: Lease, taken: int) -> list[Effect]:
        """Open a range for taking: durably as consumed, then in memory, then tell the owner."""
        block = self._block(lease.number)
        if lease.epoch != self._owner_epoch:
            raise ProtocolError(f"{self.space.source} leases for another epoch")
        if not block.mark <= lease.start < lease.end <= block.usable:
            raise ProtocolError(f"{self.space.source} leases bytes that were opened before")
        self._served = max(self._served, lease.served)
        marked = replace(block, mark=lease.end)
        return [
            Persist((self._set(marked),)),
            Open(marked, lease.start, lease.end),
            Send(Leased(lease.epoch, lease.number, lease.start, lease.end, taken)),
        ]

    def on_release(self, release: Release) -> list[Effect]:
        """The owner closes and gives back what it never served."""
        block = self._block(release.number)
        if release.mark > block.mark:
            raise ProtocolError(f"{self.space.source} releases what was never leased")
        return [
            Shut(release.number, release.mark),
            Persist((self._set(replace(block, mark=release.mark)),)),
            Send(Released(release.number, release.mark)),
        ]

    def on_void(self, void: Void) -> list[Effect]:
        """The owner dropped the block. Unknown numbers are fine: we may have dropped it first."""
        if self.blocks.pop(void.number, None) is None:
            return []
        return [Persist((DropBlock(void.number),)), Forget(void.number)]

    def on_report(self, served: int) -> list[Effect]:
        """The owner reported how many bytes it served in its epoch."""
        self._served = max(self._served, served)
        return []

    def _block(self, number: int) -> BlockRecord:
        self._require_ready()
        if number not in self.blocks:
            raise ProtocolError(f"{self.space.source} leases block {number}, which is not here")
        return self.blocks[number]

    def _require_ready(self) -> None:
        if not self._ready:
            raise ProtocolError(f"{self.space.source} skipped the inventory")

    # -- bookkeeping ---------------------------------------------------------------------

    def _set(self, block: BlockRecord) -> PutBlock:
        self.blocks[block.number] = block
        return PutBlock(block)

    def _put(self, record: SpaceRecord, *changes: Change) -> Persist:
        self._record = record
        return Persist((PutSpace(record), *changes))
