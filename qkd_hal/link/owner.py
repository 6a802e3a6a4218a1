"""The owner's half of a directed space: who may start keys, as a state machine without I/O.

A block at its owner, and what is durable before what is said:

=========  ==============================  =======================  ===================  =======
state      event                           durable first            then                 next
=========  ==============================  =======================  ===================  =======
none       ``offer`` (the filler)          block, pending           send Offer           PENDING
PENDING    Stored                          state, provenance        answer the filler    ACTIVE
PENDING    Refused                         drop                     answer with error    none
PENDING    Hello (the link was cut)        drop                     answer with error    none
ACTIVE     ``lease``                       mark := end              send Lease           ACTIVE
ACTIVE     Leased                          (mark stands)            grant the range      ACTIVE
ACTIVE     Marks, block listed             mark := the higher one   may be leased        ACTIVE
any        Marks, block missing            drop                     forget               none
ACTIVE     ``release`` (clean close)       acked := next unserved   send Release         ACTIVE
ACTIVE     Released                        mark := next unserved    none                 ACTIVE
ACTIVE     ``retire`` (all of it served)   erase material           forget               SPENT
SPENT      ``expire``                      drop                     send Void            none
=========  ==============================  =======================  ===================  =======

On opening, the owner starts at the higher of its own mark and the peer's. The peer's is
durable before any byte below it is served, so a restored backup of the owner cannot serve a
byte twice. A mark of the peer below ``acked`` means that *the peer* was rolled back.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from qkd_hal.errors import (
    KeyMismatchError,
    KeysExhaustedError,
    LinkError,
    ProtocolError,
    QKDError,
    StoreError,
    UsageError,
)
from qkd_hal.key_ids import MAX_BLOCK
from qkd_hal.link.check import block_tag
from qkd_hal.link.effects import (
    Answer,
    Burn,
    DropBlock,
    EraseMaterial,
    Forget,
    Grant,
    Notify,
    Persist,
    PutBlock,
    PutSpace,
    Send,
)
from qkd_hal.link.messages import Inventory, Lease, Offer, Release, Void
from qkd_hal.link.records import (
    CHECK_SIZE,
    MAX_BLOCK_SIZE,
    MAX_BLOCKS,
    BlockRecord,
    BlockState,
    Space,
    SpaceRecord,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from qkd_hal.keys import KeyRef, Provenance
    from qkd_hal.link.effects import Change, Effect
    from qkd_hal.link.messages import Hello, Leased, Marks, Refused, Released, Stored

__all__ = ["SpaceOwner"]

SMALLEST_LEASE = 1024  # bytes; below this the round trip costs more than a crash would burn


class SpaceOwner:
    """Owner of *space*. Every method returns the effects to carry out, in order."""

    def __init__(
        self,
        space: Space,
        record: SpaceRecord,
        blocks: Iterable[BlockRecord],
        *,
        epoch: bytes,
        lease_size: int = 16 * 1024,
    ) -> None:
        self.space = space
        self.blocks = {block.number: block for block in sorted(blocks, key=lambda one: one.number)}
        self.contact = False  # the peer's marks were heard in this epoch
        self.ready = False  # and the link has been up since
        self._record = record
        self._epoch = epoch
        self._lease_size = lease_size
        self._asked: set[tuple[int, int, int]] = set()
        self.releasing: set[int] = set()  # blocks whose Released is still to come
        self._met: bytes = b""  # the peer's epoch that `_taken` counts in
        self._taken = 0

    @property
    def floor(self) -> int:
        """The highest block number ever used."""
        return self._record.floor

    @property
    def available(self) -> int:
        """Bytes that can still be leased."""
        return sum(block.room for block in list(self.blocks.values()))  # any thread may ask

    @property
    def waiting(self) -> int:
        """Bytes asked for and not granted yet."""
        return sum(end - start for _, start, end in self._asked)

    @property
    def offered(self) -> int:
        """Bytes of blocks that the peer has not answered for."""
        blocks = list(self.blocks.values())  # any thread may ask
        pending = (one for one in blocks if one.state is BlockState.PENDING)
        return sum(block.usable for block in pending)

    # -- the link comes and goes ---------------------------------------------------------

    def on_hello(self, hello: Hello) -> list[Effect]:
        """The peer opened a connection: forget what is in flight, send the inventory."""
        self.ready = False
        self._asked.clear()
        keep, effects = self._judge(hello)
        pending = [one.number for one in self.blocks.values() if one.state is BlockState.PENDING]
        cut = LinkError(f"the link to {hello.site} was cut before it had stored the block")
        floor = max(self._record.floor, hello.floor)
        record = replace(self._record, floor=floor, peer_epoch=hello.epoch, keep=keep)
        dropped = self._drop(pending)
        rows = tuple((one.number, one.size, one.mark) for one in self.blocks.values())
        return [
            self._put(record, *dropped),
            *(Answer(number, cut) for number in pending),
            *effects,
            Send(Inventory(keep, floor, rows)),
        ]

    def _judge(self, hello: Hello) -> tuple[bool, list[Effect]]:
        """Tell whether the responder's memory is current, and what follows if not."""
        known = self._record.peer_epoch
        effects: list[Effect] = []
        same = hello.epoch == known
        keep = self._record.keep if same else bool(hello.continues) and hello.continues == known
        rolled_back = hello.continues and not same and not keep
        if hello.epoch == self._met and hello.taken < self._taken:
            keep, rolled_back = False, True
        if rolled_back:
            effects.append(Notify(history_alarm(self.space)))
        if not keep:
            effects.append(Burn())
        self._met, self._taken = hello.epoch, hello.taken
        return keep, effects

    def on_marks(self, marks: Marks) -> list[Effect]:
        """The peer said what it has and how far it opened it."""
        theirs = dict(marks.blocks)
        if not theirs.keys() <= self.blocks.keys():
            raise ProtocolError(f"{self.space.destination} lists blocks that were not asked for")
        gone = [number for number in self.blocks if number not in theirs]
        effects: list[Effect] = []
        if any(mark < self.blocks[number].acked for number, mark in theirs.items()):
            effects.append(Notify(history_alarm(self.space)))
        if not marks.keep:
            effects += [Notify(history_alarm(self.space)), Burn()]
        changes = [self._raise_mark(self.blocks[number], mark) for number, mark in theirs.items()]
        changes += self._drop(gone)
        # The peer has burned what it was told to burn: from now on its memory is current.
        record = replace(self._record, keep=True)
        self.contact = self.ready = True
        return [self._put(record, *changes), *(Forget(number) for number in gone), *effects]

    def _raise_mark(self, block: BlockRecord, mark: int) -> Change:
        if mark > block.usable:
            raise ProtocolError(f"mark {mark} lies outside block {block.number}")
        higher = max(mark, block.mark)
        return self._set(replace(block, mark=higher, acked=mark))

    def disconnected(self) -> list[Effect]:
        """The connection broke; leases that were granted stay good."""
        self.ready = False
        self._asked.clear()
        self.releasing.clear()
        return []

    # -- filling -------------------------------------------------------------------------

    def offer(self, material: bytearray, ref: KeyRef, provenance: Provenance) -> list[Effect]:
        """Store a fresh block as pending and offer it; *ref* names it at the device.

        Raises:
            UsageError: too small or too large, or the space is full.
            LinkError: the peer is out of touch.
        """
        if not CHECK_SIZE < len(material) <= MAX_BLOCK_SIZE:
            raise UsageError(f"a block has {CHECK_SIZE + 1} to {MAX_BLOCK_SIZE} bytes")
        self._require_ready()
        if len(self.blocks) >= MAX_BLOCKS or self._record.floor >= MAX_BLOCK:
            raise UsageError(
                f"the space {self.space} is full: it holds {len(self.blocks)} blocks",
                cure="Lower the high-water mark, or use larger blocks",
            )
        number = self._record.floor + 1
        block = BlockRecord(number, len(material), provenance, BlockState.PENDING, origin=ref)
        tag = block_tag(number, material)
        self.blocks[number] = block
        return [
            self._put(replace(self._record, floor=number), PutBlock(block, material)),
            Send(Offer(number, block.size, ref, provenance, tag)),
        ]

    def on_stored(self, stored: Stored) -> list[Effect]:
        """The peer has the block: from now on it may be leased."""
        block = self._pending(stored.number)
        provenance = block.provenance.combined(stored.provenance)
        active = self._set(replace(block, state=BlockState.ACTIVE, provenance=provenance))
        return [Persist((active,)), Answer(block.number)]

    def on_refused(self, refused: Refused) -> list[Effect]:
        """The peer could not get the block, or got other bytes: both ends void it."""
        number = self._pending(refused.number).number
        error: QKDError = LinkError(f"{self.space.destination} refused a block: {refused.reason}")
        if refused.reason == KeyMismatchError.code:
            error = KeyMismatchError(f"{self.space} got different bytes at its two ends")
        return [Persist(tuple(self._drop([number]))), Notify(error), Answer(number, error)]

    def _pending(self, number: int) -> BlockRecord:
        block = self.blocks.get(number)
        if block is None or block.state is not BlockState.PENDING:
            raise ProtocolError(f"{self.space.destination} answered for a block never offered")
        return block

    # -- leases --------------------------------------------------------------------------

    def lease(self, size: int, served: int) -> list[Effect]:
        """Consume a range of at least *size* bytes and ask the peer to open it.

        Raises:
            KeysExhaustedError: no block has *size* bytes left.
            LinkError: the peer is out of touch.
        """
        self._require_ready()
        block = next((one for one in self.blocks.values() if one.room >= size), None)
        if block is None:
            raise KeysExhaustedError(
                f"no {size} bytes of key are left for {self.space.destination}",
                cure="Wait until the devices have filled the pool",
            )
        share = min(self._lease_size, max(SMALLEST_LEASE, self.available // 4 // 64 * 64))
        start, end = block.mark, block.mark + min(block.room, max(size, share))
        self._asked.add((block.number, start, end))
        mark = self._set(replace(block, mark=end))
        return [Persist((mark,)), Send(Lease(self._epoch, block.number, start, end, served))]

    def on_leased(self, leased: Leased) -> list[Effect]:
        """The peer opened the range; only now may it be served."""
        wanted = (leased.number, leased.start, leased.end)
        if wanted not in self._asked or leased.epoch != self._epoch:
            raise ProtocolError(f"{self.space.destination} granted a lease never asked for")
        self._asked.discard(wanted)
        self._taken = max(self._taken, leased.taken)
        if leased.number in self.releasing:
            return []  # it crossed our Release, which gives this range back too
        # `acked` reaches the disk with the next change: it only sharpens the alarm.
        block = replace(self.blocks[leased.number], acked=leased.end)
        self.blocks[leased.number] = block
        return [Grant(block, leased.start, leased.end)]

    def on_report(self, taken: int) -> list[Effect]:
        """The peer reported how many bytes it handed out in its epoch."""
        self._taken = max(self._taken, taken)
        return []

    def release(self, unserved: Mapping[int, int]) -> list[Effect]:
        """Give back, at a clean close, what was leased and never served.

        *unserved*: block number → first byte that was never served. The caller has stopped
        serving for good.
        """
        if not self.ready:
            return []
        known = [
            (self.blocks[number], mark)
            for number, mark in unserved.items()
            if self._state(number) is BlockState.ACTIVE
        ]
        lowered = [(block, mark) for block, mark in known if mark < block.mark]
        changes = [self._set(replace(block, acked=mark)) for block, mark in lowered]
        releases = [Send(Release(block.number, mark)) for block, mark in lowered]
        self.releasing = {block.number for block, _ in lowered}
        return [Persist(tuple(changes)), *releases] if changes else []

    def on_released(self, released: Released) -> list[Effect]:
        """The peer lowered its mark; ours may follow."""
        block = self.blocks.get(released.number)
        if block is None or block.number not in self.releasing or released.mark != block.acked:
            raise ProtocolError(f"{self.space.destination} released a range never given back")
        self.releasing.discard(block.number)
        return [Persist((self._set(replace(block, mark=released.mark)),))]

    # -- the end of a block --------------------------------------------------------------

    def retire(self, busy: Iterable[int]) -> list[Effect]:
        """Erase blocks that have nothing left to lease and are not *busy* with a lease."""
        engaged = {*busy, *(number for number, _, _ in self._asked)}
        done = [
            one
            for one in self.blocks.values()
            if one.state is BlockState.ACTIVE and one.room == 0 and one.number not in engaged
        ]
        changes: list[Change] = []
        for block in done:
            changes.append(self._set(replace(block, state=BlockState.SPENT)))
            changes.append(EraseMaterial(block.number))
        return [Persist(tuple(changes))] if changes else []

    def expire(self, numbers: Iterable[int]) -> list[Effect]:
        """Drop spent blocks whose keys cannot be in flight any more."""
        spent = [one for one in numbers if self._state(one) is BlockState.SPENT]
        if not spent or not self.ready:
            return []
        drops = tuple(self._drop(spent))
        return [Persist(drops), *(Send(Void(number)) for number in spent)]

    def _state(self, number: int) -> BlockState | None:
        block = self.blocks.get(number)
        return block.state if block else None

    # -- bookkeeping ---------------------------------------------------------------------

    def _require_ready(self) -> None:
        if not self.ready:
            raise LinkError(
                f"the pool of {self.space.destination} is out of touch",
                cure="Check that it runs, and the link address in both qkd-hal.toml",
            )

    def _set(self, block: BlockRecord) -> PutBlock:
        self.blocks[block.number] = block
        return PutBlock(block)

    def _drop(self, numbers: Iterable[int]) -> list[Change]:
        return [DropBlock(self.blocks.pop(number).number) for number in numbers]

    def _put(self, record: SpaceRecord, *changes: Change) -> Persist:
        self._record = record
        return Persist((PutSpace(record), *changes))


def history_alarm(space: Space) -> StoreError:
    """Return the alarm that one end of *space* is older than the other remembers."""
    return StoreError(
        f"the two ends of {space} remember different histories; the ranges in doubt were burned",
        cure="Find out at which site a backup or a snapshot was restored",
    )
