"""The owner's half: order of effects, and what it refuses from its peer."""

from __future__ import annotations

import pytest

from qkd_hal.errors import KeysExhaustedError, LinkError, ProtocolError, UsageError
from qkd_hal.keys import KeyId, KeyRef, Origin, Provenance
from qkd_hal.link import BlockRecord, BlockState, Space, SpaceOwner, SpaceRecord
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
from qkd_hal.link.messages import (
    Hello,
    Inventory,
    Lease,
    Leased,
    Marks,
    Offer,
    Refused,
    Release,
    Released,
    Stored,
    Void,
)
from qkd_hal.link.records import MAX_BLOCKS

EPOCH, PEER, OLD = b"o" * 16, b"r" * 16, b"q" * 16
HARDWARE = Provenance(Origin.HARDWARE)
REF = KeyRef("alice", KeyId.from_bytes(bytes(16)))


def _block(number: int, mark: int = 0, *, size: int = 1056, acked: int = 0) -> BlockRecord:
    return BlockRecord(number, size, HARDWARE, BlockState.ACTIVE, mark, acked)


def _hello(epoch: bytes = PEER, continues: bytes = b"", *, floor: int = 0, taken: int = 0) -> Hello:
    return Hello("bob", epoch, continues, floor, 0, taken)


def _owner(*blocks: BlockRecord, record: SpaceRecord | None = None, lease: int = 256) -> SpaceOwner:
    floor = max((block.number for block in blocks), default=0)
    record = record or SpaceRecord(floor, peer_epoch=PEER, keep=True)
    return SpaceOwner(Space("alice", "bob"), record, blocks, epoch=EPOCH, lease_size=lease)


def _ready(*blocks: BlockRecord, lease: int = 256) -> SpaceOwner:
    owner = _owner(*blocks, lease=lease)
    owner.on_hello(_hello())
    owner.on_marks(Marks(True, tuple((block.number, block.mark) for block in blocks)))
    return owner


def test_an_offer_is_durable_before_it_is_sent() -> None:
    owner = _ready()
    persist, send = owner.offer(bytearray(100), REF, HARDWARE)
    assert isinstance(persist, Persist)
    space, block = persist.changes
    assert isinstance(space, PutSpace)
    assert space.record.floor == 1
    assert isinstance(block, PutBlock)
    assert block.record.state is BlockState.PENDING
    assert isinstance(send, Send)
    assert isinstance(send.message, Offer)
    assert "bytearray" not in repr(persist)


def test_a_pending_block_is_not_leased() -> None:
    owner = _ready()
    owner.offer(bytearray(100), REF, HARDWARE)
    with pytest.raises(KeysExhaustedError):
        owner.lease(16, 0)
    assert (owner.available, owner.offered) == (0, 68)
    assert owner.on_stored(Stored(1, HARDWARE))[-1] == Answer(1)
    assert (owner.available, owner.offered) == (68, 0)
    owner.lease(16, 0)


def test_a_refused_block_is_dropped_before_the_filler_hears() -> None:
    owner = _ready()
    owner.offer(bytearray(100), REF, HARDWARE)
    persist, notify, answer = owner.on_refused(Refused(1, "device"))
    assert persist == Persist((DropBlock(1),))
    assert isinstance(answer, Answer)
    assert isinstance(answer.error, LinkError)
    assert isinstance(notify, Notify)


def test_a_lease_is_durable_before_it_is_sent_and_granted_only_when_acknowledged() -> None:
    owner = _ready(_block(1))
    persist, send = owner.lease(32, 7)
    marked = owner.blocks[1]
    assert (marked.mark, persist) == (256, Persist((PutBlock(marked),)))
    assert send == Send(Lease(EPOCH, 1, 0, 256, 7))
    assert owner.waiting == 256
    (grant,) = owner.on_leased(Leased(EPOCH, 1, 0, 256, 0))
    assert isinstance(grant, Grant)
    assert (grant.start, grant.end, owner.waiting) == (0, 256, 0)


def test_a_lease_is_as_large_as_the_key() -> None:
    owner = _ready(_block(1), lease=64)
    assert owner.lease(1000, 0)[-1] == Send(Lease(EPOCH, 1, 0, 1000, 0))
    with pytest.raises(KeysExhaustedError):
        owner.lease(1000, 0)


def test_a_small_pool_is_not_leased_at_once() -> None:
    owner = _ready(*(_block(number, size=4128) for number in (1, 2)), lease=1 << 16)
    assert owner.lease(32, 0)[-1] == Send(Lease(EPOCH, 1, 0, 2048, 0))


@pytest.mark.parametrize(
    "leased",
    [
        Leased(EPOCH, 1, 0, 255, 0),
        Leased(EPOCH, 1, 1, 256, 0),
        Leased(EPOCH, 2, 0, 256, 0),
        Leased(OLD, 1, 0, 256, 0),
    ],
)
def test_a_lease_never_asked_for_is_not_granted(leased: Leased) -> None:
    owner = _ready(_block(1), _block(2))
    owner.lease(32, 0)
    with pytest.raises(ProtocolError):
        owner.on_leased(leased)


def test_a_lease_is_granted_once() -> None:
    owner = _ready(_block(1))
    owner.lease(32, 0)
    owner.on_leased(Leased(EPOCH, 1, 0, 256, 0))
    with pytest.raises(ProtocolError):
        owner.on_leased(Leased(EPOCH, 1, 0, 256, 0))


def test_a_lease_that_was_in_flight_when_the_link_broke_is_not_granted() -> None:
    owner = _ready(_block(1))
    owner.lease(32, 0)
    owner.disconnected()
    with pytest.raises(LinkError):
        owner.lease(32, 0)
    owner.on_hello(_hello())
    owner.on_marks(Marks(True, ((1, 256),)))
    with pytest.raises(ProtocolError):
        owner.on_leased(Leased(EPOCH, 1, 0, 256, 0))


@pytest.mark.parametrize(("mine", "theirs"), [(0, 512), (512, 0), (512, 512)])
def test_the_owner_starts_at_the_higher_mark(mine: int, theirs: int) -> None:
    owner = _owner(_block(1, mine))
    owner.on_hello(_hello())
    assert not owner.contact
    persist, *_ = owner.on_marks(Marks(True, ((1, theirs),)))
    assert isinstance(persist, Persist)
    assert owner.contact
    assert owner.blocks[1].mark == 512
    assert PutBlock(owner.blocks[1]) in persist.changes


def test_a_mark_below_what_was_acknowledged_is_reported_once() -> None:
    owner = _owner(_block(1, 512, acked=512))
    for alarms in (1, 0):
        owner.on_hello(_hello())
        effects = owner.on_marks(Marks(True, ((1, 0),)))
        assert sum(isinstance(effect, Notify) for effect in effects) == alarms


def test_the_inventory_follows_the_peers_epoch_to_the_disk() -> None:
    owner = _owner(_block(1, 64), record=SpaceRecord(3, peer_epoch=OLD))
    persist, *_, send = owner.on_hello(_hello(continues=OLD, floor=9))
    assert persist == Persist((PutSpace(SpaceRecord(9, peer_epoch=PEER, keep=True)),))
    assert send == Send(Inventory(True, 9, ((1, 1056, 64),)))


@pytest.mark.parametrize(
    ("known", "hello", "keep", "alarm"),
    [
        (PEER, _hello(), True, False),  # the same opening again
        (OLD, _hello(continues=OLD), True, False),  # a clean restart
        (OLD, _hello(), False, False),  # a crash
        (b"", _hello(), False, False),  # the very first time
        (OLD, _hello(continues=b"x" * 16), False, True),  # a restored backup
        (b"", _hello(continues=OLD), False, True),  # our own backup
    ],
)
def test_what_remains_counts_only_if_it_continues_what_we_met(
    known: bytes, hello: Hello, keep: bool, alarm: bool
) -> None:
    owner = _owner(record=SpaceRecord(peer_epoch=known, keep=True))
    effects = owner.on_hello(hello)
    inventory = effects[-1]
    assert isinstance(inventory, Send)
    assert isinstance(inventory.message, Inventory)
    assert inventory.message.keep is keep
    assert any(isinstance(effect, Notify) for effect in effects) is alarm


def test_the_order_to_burn_is_repeated_until_the_peer_has_heard_it() -> None:
    owner = _owner(record=SpaceRecord(peer_epoch=OLD))
    for _ in range(2):
        assert owner.on_hello(_hello())[-1] == Send(Inventory(False, 0, ()))
        owner.disconnected()
    owner.on_hello(_hello())
    owner.on_marks(Marks(True, ()))
    assert owner.on_hello(_hello())[-1] == Send(Inventory(True, 0, ()))


def test_leases_are_burned_when_the_peer_lost_its_memory_and_kept_when_it_did_not() -> None:
    owner = _ready(_block(1))
    assert Burn() not in owner.on_hello(_hello())
    assert Burn() not in owner.on_hello(_hello(OLD, continues=PEER))
    assert Burn() in owner.on_hello(_hello(PEER))


def test_a_count_that_shrank_in_one_epoch_burns_and_is_reported() -> None:
    owner = _ready(_block(1))
    owner.on_report(taken=100)
    effects = owner.on_hello(_hello(taken=99))
    assert Burn() in effects
    assert any(isinstance(effect, Notify) for effect in effects)
    assert effects[-1] == Send(Inventory(False, 1, ((1, 1056, 0),)))


def test_a_peer_that_remembers_more_of_us_makes_us_burn() -> None:
    owner = _owner(_block(1))
    owner.on_hello(_hello())
    effects = owner.on_marks(Marks(False, ((1, 0),)))
    assert Burn() in effects
    assert any(isinstance(effect, Notify) for effect in effects)


def test_blocks_that_the_peer_lacks_are_dropped() -> None:
    owner = _owner(_block(1), _block(2))
    owner.on_hello(_hello())
    persist, *effects = owner.on_marks(Marks(True, ((2, 0),)))
    assert isinstance(persist, Persist)
    assert DropBlock(1) in persist.changes
    assert Forget(1) in effects
    assert [*owner.blocks] == [2]


def test_pending_blocks_do_not_survive_the_connection() -> None:
    owner = _ready()
    owner.offer(bytearray(100), REF, HARDWARE)
    persist, answer, *_, send = owner.on_hello(_hello())
    assert isinstance(persist, Persist)
    assert DropBlock(1) in persist.changes
    assert isinstance(answer, Answer)
    assert isinstance(answer.error, LinkError)
    assert send == Send(Inventory(True, 1, ()))
    with pytest.raises(ProtocolError):
        owner.on_stored(Stored(1, HARDWARE))


@pytest.mark.parametrize("marks", [((9, 0),), ((1, 1025),)])
def test_marks_of_unknown_or_shorter_blocks_break_the_protocol(
    marks: tuple[tuple[int, int], ...],
) -> None:
    owner = _owner(_block(1))
    owner.on_hello(_hello())
    with pytest.raises(ProtocolError):
        owner.on_marks(Marks(True, marks))


@pytest.mark.parametrize("number", [1, 2])
def test_answers_for_blocks_never_offered_break_the_protocol(number: int) -> None:
    owner = _ready(_block(1))
    with pytest.raises(ProtocolError):
        owner.on_stored(Stored(number, HARDWARE))
    with pytest.raises(ProtocolError):
        owner.on_refused(Refused(number, "device"))


def test_a_release_lowers_our_mark_only_after_the_peers() -> None:
    owner = _ready(_block(1), _block(2))
    owner.lease(32, 0)
    owner.on_leased(Leased(EPOCH, 1, 0, 256, 0))
    persist, send = owner.release({1: 32})
    assert send == Send(Release(1, 32))
    assert isinstance(persist, Persist)
    assert (owner.blocks[1].mark, owner.blocks[1].acked) == (256, 32)
    with pytest.raises(ProtocolError):
        owner.on_released(Released(1, 31))
    with pytest.raises(ProtocolError):
        owner.on_released(Released(2, 0))
    assert owner.releasing == {1}
    owner.on_released(Released(1, 32))
    assert owner.blocks[1].mark == 32
    assert not owner.releasing


def test_a_lease_that_crosses_the_release_is_not_granted() -> None:
    owner = _ready(_block(1))
    owner.lease(32, 0)
    owner.on_leased(Leased(EPOCH, 1, 0, 256, 0))
    owner.lease(32, 0)
    owner.release({1: 32})
    assert owner.on_leased(Leased(EPOCH, 1, 256, 512, 0)) == []
    owner.on_released(Released(1, 32))
    assert owner.blocks[1].mark == 32


def test_nothing_is_released_without_a_link_or_without_a_rest() -> None:
    owner = _ready(_block(1))
    owner.lease(32, 0)
    assert owner.release({1: 256}) == []
    owner.disconnected()
    assert owner.release({1: 0}) == []


def test_a_block_ends_in_three_steps() -> None:
    owner = _ready(_block(1, size=96))
    owner.lease(64, 0)
    assert owner.retire([]) == [], "the lease is in flight"
    owner.on_leased(Leased(EPOCH, 1, 0, 64, 0))
    assert owner.retire([1]) == [], "the lease is being served"
    (persist,) = owner.retire([])
    assert isinstance(persist, Persist)
    assert EraseMaterial(1) in persist.changes
    assert owner.blocks[1].state is BlockState.SPENT
    assert owner.retire([]) == []
    assert owner.expire([1, 9]) == [Persist((DropBlock(1),)), Send(Void(1))]
    assert owner.expire([1]) == []


def test_only_spent_blocks_expire() -> None:
    owner = _ready(_block(1))
    assert owner.expire([1]) == []


@pytest.mark.parametrize("size", [0, 32, (1 << 24) + 1])
def test_a_block_has_a_size(size: int) -> None:
    with pytest.raises(UsageError):
        _ready().offer(bytearray(size), REF, HARDWARE)


def test_a_space_has_a_limit() -> None:
    owner = _ready(*(_block(number) for number in range(1, MAX_BLOCKS + 1)))
    with pytest.raises(UsageError, match="full"):
        owner.offer(bytearray(100), REF, HARDWARE)


def test_without_a_link_nothing_is_offered() -> None:
    with pytest.raises(LinkError):
        _owner().offer(bytearray(100), REF, HARDWARE)
