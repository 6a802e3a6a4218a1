"""Key fill: two directed halves, the peer's half first, nothing left of the keys here."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

import pytest

from qkd_hal.device import QKDDevice
from qkd_hal.errors import DeviceError, KeyConsumedError, KeyMismatchError, UsageError
from qkd_hal.keys import KeyId, Origin, Provenance, QuantumKey
from qkd_hal.sources import Deadline, KeyLoader
from qkd_hal.token_fill import fill_pair, keys_from, keys_from_pair, load_session
from tests.device.conftest import MemoryDriver

if TYPE_CHECKING:
    from qkd_hal.sources import DeviceInfo, Slot
    from tests.device.conftest import Pair

RELAYED = Provenance(Origin.HARDWARE, ("node-7",))


class Loaded(NamedTuple):
    token: str
    key_id: KeyId
    key: bytes
    own: bool
    peer: str
    provenance: Provenance


@dataclass
class MemoryToken:
    """A loader that writes into a list that tokens may share; full after *room* keys."""

    site: str
    into: list[Loaded] = field(default_factory=list)
    room: int = 100

    def load(
        self,
        key_id: KeyId,
        key: memoryview,
        *,
        own: bool,
        peer: str,
        provenance: Provenance,
        deadline: Deadline,
    ) -> None:
        deadline.check("loading")
        if not self.room:
            raise DeviceError("the token is full")
        self.room -= 1
        self.into.append(Loaded(self.site, key_id, bytes(key), own, peer, provenance))

    def free(self, deadline: Deadline) -> int | None:
        return self.room


def new_keys(count: int) -> list[QuantumKey]:
    return [QuantumKey(bytes([number]) * 32, provenance=RELAYED) for number in range(count)]


def test_every_key_has_one_owner_and_enters_the_peer_s_half_first() -> None:
    done: list[Loaded] = []
    alice: KeyLoader = MemoryToken("alice", done)
    assert fill_pair(new_keys(3), alice, MemoryToken("bob", done), Deadline(5)) == 3
    halves = [(one.token, one.own, one.peer, one.key[0]) for one in done]
    assert halves == [
        ("bob", False, "alice", 0),
        ("alice", True, "bob", 0),
        ("alice", False, "bob", 1),
        ("bob", True, "alice", 1),
        ("bob", False, "alice", 2),
        ("alice", True, "bob", 2),
    ]
    assert all(a.key_id == b.key_id for a, b in zip(done[::2], done[1::2], strict=True))
    assert len({one.key_id for one in done}) == 3
    assert {one.provenance for one in done} == {RELAYED}


def test_a_key_that_was_loaded_is_gone_here() -> None:
    keys = new_keys(2)
    fill_pair(keys, MemoryToken("alice"), MemoryToken("bob"), Deadline(5))
    for key in keys:
        with pytest.raises(KeyConsumedError), key.exposed():
            pass


def test_a_fill_that_breaks_off_leaves_no_key_with_its_owner_only() -> None:
    done: list[Loaded] = []
    alice, bob = MemoryToken("alice", done), MemoryToken("bob", done, room=3)
    with pytest.raises(DeviceError, match="full"):
        fill_pair(new_keys(8), alice, bob, Deadline(5))
    owned = {one.key_id for one in done if one.own}
    named = {one.key_id for one in done if not one.own}
    assert owned < named
    assert (len(owned), len(named)) == (3, 4)


def test_a_pair_for_one_site_is_refused_before_a_key_is_used() -> None:
    keys = new_keys(1)
    with pytest.raises(UsageError, match="alice"):
        fill_pair(keys, MemoryToken("alice"), MemoryToken("alice"), Deadline(5))
    assert not keys[0].shown


def test_keys_come_from_sessions_of_any_device(pair: Pair) -> None:
    done: list[Loaded] = []
    keys = keys_from(pair.alice, 4, size=48)
    assert fill_pair(keys, MemoryToken("alice", done), MemoryToken("bob", done), Deadline(5)) == 4
    originals = {entry.material for entry in pair.link.entries.values()}
    assert {one.key for one in done} == originals
    assert {one.provenance for one in done} == {pair.alice.info.provenance}


class DifferingDriver(MemoryDriver):
    """The end of the link that has other keys under the same names."""

    def fetch(self, slot: Slot, out: memoryview, deadline: Deadline) -> None:
        super().fetch(slot, out, deadline)
        out[0] ^= 1


def test_two_devices_that_differ_fill_nothing(pair: Pair) -> None:
    with (
        QKDDevice(DifferingDriver(pair.link, "bob", "alice"), name="bob's") as other,
        pytest.raises(KeyMismatchError, match="not hold the same key"),
    ):
        next(keys_from_pair(pair.alice, other, 1))


class MeasuringDriver(MemoryDriver):
    """The end of the link that calls its keys measured."""

    def open(self, deadline: Deadline) -> DeviceInfo:
        return replace(super().open(deadline), provenance=RELAYED)


@pytest.mark.parametrize("measured_first", [True, False])
def test_a_key_of_two_devices_is_trusted_like_the_worse_of_them(
    pair: Pair, measured_first: bool
) -> None:
    with QKDDevice(MeasuringDriver(pair.link, "alice", "bob"), name="measured") as measured:
        ends = (measured, pair.bob) if measured_first else (pair.bob, measured)
        (key,) = keys_from_pair(*ends, 1)
    assert key.provenance == Provenance(Origin.SIMULATED, ("node-7",))


def test_two_sites_fill_a_token_each_from_one_session(pair: Pair) -> None:
    alice, bob = MemoryToken("alice"), MemoryToken("bob")
    with pair.alice.start() as ours, pair.bob.start(key_id=ours.key_id) as theirs:
        ours.connect()
        theirs.connect()
        assert load_session(ours, alice, Deadline(5)) == ours.key_id
        load_session(theirs, bob, Deadline(5))
    (first,), (second,) = alice.into, bob.into
    assert (first.own, first.peer) == (True, "bob")
    assert (second.own, second.peer) == (False, "alice")
    assert first.key_id == second.key_id
    same = first.key == second.key
    assert same
