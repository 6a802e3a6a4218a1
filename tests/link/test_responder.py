"""The responder's half: order of effects, and what it refuses from the owner."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from qkd_hal.errors import DeviceLostError, ProtocolError
from qkd_hal.keys import KeyId, KeyRef, Origin, Provenance
from qkd_hal.link import BlockRecord, BlockState, Space, SpaceRecord, SpaceResponder
from qkd_hal.link.check import block_tag
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
from qkd_hal.link.responder import MAX_FETCHES

EPOCH, OWNER, OLD = b"r" * 16, b"o" * 16, b"q" * 16
HARDWARE, SIMULATED = Provenance(Origin.HARDWARE), Provenance(Origin.SIMULATED)
REF = KeyRef("alice", KeyId.from_bytes(bytes(16)))
MATERIAL = random.Random(1).randbytes(100)


def _block(number: int, mark: int = 0) -> BlockRecord:
    return BlockRecord(number, 1056, HARDWARE, BlockState.ACTIVE, mark)


def _hello(epoch: bytes = OWNER, served: int = 0) -> Hello:
    return Hello("alice", epoch, b"", 0, served, 0)


def _responder(*blocks: BlockRecord, record: SpaceRecord | None = None) -> SpaceResponder:
    floor = max((block.number for block in blocks), default=0)
    return SpaceResponder(Space("alice", "bob"), record or SpaceRecord(floor), blocks, epoch=EPOCH)


def _ready(*blocks: BlockRecord) -> SpaceResponder:
    responder = _responder(*blocks)
    responder.opening()
    responder.on_hello(_hello())
    rows = tuple((block.number, block.size, block.mark) for block in blocks)
    responder.on_inventory(Inventory(True, responder.floor, rows))
    return responder


def _offer(number: int = 1, material: bytes = MATERIAL) -> Offer:
    return Offer(number, len(material), REF, HARDWARE, block_tag(number, material))


def test_a_block_is_durable_before_the_owner_hears() -> None:
    responder = _ready()
    assert responder.on_offer(_offer()) == [Fetch(_offer())]
    offer = _offer()
    responder = _ready()
    responder.on_offer(offer)
    persist, send = responder.fetched(offer, bytearray(MATERIAL), SIMULATED)
    assert isinstance(persist, Persist)
    space, block = persist.changes
    assert space == PutSpace(SpaceRecord(1))
    assert isinstance(block, PutBlock)
    assert block.material == bytearray(MATERIAL)
    assert block.record.provenance == SIMULATED
    assert send == Send(Stored(1, SIMULATED))


@pytest.mark.parametrize("other", [MATERIAL[:-1], b"\x00" + MATERIAL[1:], MATERIAL + b"\x00"])
def test_other_bytes_are_refused_and_wiped(other: bytes) -> None:
    responder, offer, material = _ready(), _offer(), bytearray(other)
    responder.on_offer(offer)
    send, notify = responder.fetched(offer, material, HARDWARE)
    assert send == Send(Refused(1, "key-mismatch"))
    assert isinstance(notify, Notify)
    assert not any(material)
    assert not responder.blocks


def test_a_device_that_fails_makes_the_owner_void_the_block() -> None:
    responder, offer = _ready(), _offer()
    responder.on_offer(offer)
    error = DeviceLostError("unplugged")
    assert responder.fetch_failed(offer, error) == [Send(Refused(1, "device-lost"))]
    assert responder.fetch_failed(offer, error) == []


def test_a_block_fetched_for_a_broken_connection_is_wiped() -> None:
    responder, offer, material = _ready(), _offer(), bytearray(MATERIAL)
    responder.on_offer(offer)
    responder.disconnected()
    assert responder.fetched(offer, material, HARDWARE) == []
    assert not any(material)
    assert not responder.blocks


def test_a_block_number_is_used_once() -> None:
    responder = _ready(_block(5))
    for number in (4, 5):
        with pytest.raises(ProtocolError, match="before"):
            responder.on_offer(_offer(number))
    responder.on_offer(_offer(6))
    with pytest.raises(ProtocolError, match="before"):
        responder.on_offer(_offer(6))


def test_the_floor_of_the_owner_is_remembered_for_it() -> None:
    responder = _ready()
    persist, *_ = responder.on_inventory(Inventory(True, 9, ()))
    assert persist == Persist((PutSpace(SpaceRecord(9)),))
    with pytest.raises(ProtocolError, match="before"):
        responder.on_offer(_offer(9))


def test_offers_and_blocks_are_bounded() -> None:
    responder = _ready()
    for number in range(1, MAX_FETCHES + 1):
        responder.on_offer(_offer(number))
    with pytest.raises(ProtocolError, match="more than"):
        responder.on_offer(_offer(MAX_FETCHES + 1))
    responder = _ready(*(_block(number) for number in range(1, MAX_BLOCKS + 1)))
    offer = _offer(MAX_BLOCKS + 1)
    assert responder.on_offer(offer) == [Send(Refused(MAX_BLOCKS + 1, "store"))]


def test_a_range_is_durably_consumed_before_it_opens_and_open_before_the_owner_hears() -> None:
    responder = _ready(_block(1, 64))
    effects = responder.on_lease(Lease(OWNER, 1, 64, 256, 0), taken=5)
    marked = replace(_block(1), mark=256)
    assert effects == [
        Persist((PutBlock(marked),)),
        Open(marked, 64, 256),
        Send(Leased(OWNER, 1, 64, 256, 5)),
    ]


@pytest.mark.parametrize(
    "lease",
    [
        Lease(OWNER, 1, 63, 256, 0),
        Lease(OWNER, 1, 0, 64, 0),
        Lease(OWNER, 1, 64, 64, 0),
        Lease(OWNER, 1, 256, 128, 0),
        Lease(OWNER, 1, 64, 1025, 0),
        Lease(OWNER, 2, 64, 256, 0),
        Lease(OLD, 1, 64, 256, 0),
    ],
)
def test_a_lease_of_opened_missing_or_foreign_bytes_breaks_the_protocol(lease: Lease) -> None:
    with pytest.raises(ProtocolError):
        _ready(_block(1, 64)).on_lease(lease, 0)


def test_before_the_inventory_nothing_is_opened_or_fetched() -> None:
    responder = _responder(_block(1))
    responder.on_hello(_hello())
    with pytest.raises(ProtocolError, match="inventory"):
        responder.on_lease(Lease(OWNER, 1, 0, 64, 0), 0)
    with pytest.raises(ProtocolError, match="inventory"):
        responder.on_release(Release(1, 0))
    with pytest.raises(ProtocolError, match="inventory"):
        responder.on_offer(_offer(2))
    assert not responder.contact


def test_a_release_shuts_the_range_first() -> None:
    responder = _ready(_block(1, 256))
    assert responder.on_release(Release(1, 64)) == [
        Shut(1, 64),
        Persist((PutBlock(_block(1, 64)),)),
        Send(Released(1, 64)),
    ]
    with pytest.raises(ProtocolError):
        responder.on_release(Release(1, 65))


def test_a_void_erases_the_block_and_an_unknown_one_is_fine() -> None:
    responder = _ready(_block(1))
    assert responder.on_void(Void(1)) == [Persist((DropBlock(1),)), Forget(1)]
    assert responder.on_void(Void(1)) == []


def test_the_inventory_drops_what_is_not_in_it_and_raises_marks() -> None:
    responder = _responder(_block(1, 64), _block(2), _block(3))
    responder.on_hello(_hello())
    rows = ((1, 1056, 128), (3, 1000, 0))
    persist, *effects = responder.on_inventory(Inventory(True, 3, rows))
    raised = PutBlock(_block(1, 128))
    assert persist == Persist((PutSpace(SpaceRecord(3)), DropBlock(2), DropBlock(3), raised))
    assert effects == [Forget(2), Forget(3), Settle(True), Send(Marks(True, ((1, 128),)))]


def test_a_mark_outside_the_block_breaks_the_protocol() -> None:
    responder = _responder(_block(1))
    responder.on_hello(_hello())
    with pytest.raises(ProtocolError, match="outside"):
        responder.on_inventory(Inventory(True, 1, ((1, 1056, 1025),)))


def test_a_count_of_the_owner_that_shrank_in_one_epoch_makes_it_burn() -> None:
    responder = _ready()
    responder.on_report(served=100)
    responder.on_hello(_hello(served=99))
    effects = responder.on_inventory(Inventory(True, 0, ()))
    assert effects[-1] == Send(Marks(False, ()))
    assert any(isinstance(effect, Notify) for effect in effects)
    responder.on_hello(_hello(OLD, served=0))
    assert responder.on_inventory(Inventory(True, 0, ()))[-1] == Send(Marks(True, ()))


def test_the_note_of_what_remains_is_erased_at_opening_and_written_at_closing() -> None:
    noted = replace(_block(1, 64), remains=((0, 32),))
    responder = _responder(noted, record=SpaceRecord(1, closed=OLD))
    assert responder.continues == OLD
    (opening,) = responder.opening()
    assert opening == Persist((PutSpace(SpaceRecord(1)), PutBlock(_block(1, 64))))
    (passed_on,) = responder.closing({1: ((0, 32),)})
    assert passed_on == Persist((PutSpace(SpaceRecord(1, closed=OLD)), PutBlock(noted)))
    responder.on_hello(_hello())
    responder.on_inventory(Inventory(True, 1, ((1, 1056, 64),)))
    (closing,) = responder.closing({1: ((0, 16),), 7: ()})
    later = replace(noted, remains=((0, 16),))
    assert closing == Persist((PutSpace(SpaceRecord(1, closed=EPOCH)), PutBlock(later)))
