"""A session is one byte sequence that both ends agree on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from qkd_hal.device import QKDDevice
from qkd_hal.device._material import Material
from qkd_hal.errors import (
    DeviceClosedError,
    DeviceError,
    KeyConsumedError,
    KeyNotFoundError,
    KeysExhaustedError,
    ProtocolError,
    UnsupportedError,
    UsageError,
)
from qkd_hal.keys import KeyId, KeyRef, QuantumKey
from qkd_hal.sources import Agreement, Capability, Slot

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_mock import MockerFixture

    from qkd_hal.device import QKDSession
    from tests.device.conftest import MemoryDriver, Pair


def shown(key: QuantumKey) -> bytes:
    with key.exposed() as view:
        return bytes(view)


def connected(pair: Pair, size: int | None = 64) -> tuple[QKDSession, QKDSession]:
    alice = pair.alice.start(size=size)
    bob = pair.bob.start(key_id=alice.key_id)
    assert alice.connect() is Agreement.CONFIRMED
    assert bob.connect() is Agreement.CONFIRMED
    return alice, bob


@pytest.mark.parametrize("size", [64, None])
def test_both_ends_read_the_same_sequence_in_different_pieces(size: int | None, pair: Pair) -> None:
    alice, bob = connected(pair, size)
    left = [shown(alice.get_key(count)) for count in (1, 31, 32)]
    right = [shown(bob.get_key(count)) for count in (40, 24)]
    assert b"".join(left) == b"".join(right)
    assert len(set(left)) == 3


def test_a_key_names_its_owner_and_keeps_its_provenance(pair: Pair) -> None:
    alice, bob = connected(pair)
    for session in (alice, bob):
        key = session.get_key(16)
        assert key.ref == KeyRef("alice", alice.key_id) == session.ref
        assert key.provenance.simulated


def test_a_finite_session_is_fetched_and_erased_once_before_anything_is_handed_out(
    pair: Pair,
) -> None:
    alice, _ = connected(pair)
    alice.get_key(1)
    assert pair.alice_driver.erased(alice.key_id)
    alice.get_key(1)
    assert pair.alice_driver.calls[-2:] == ["after fetch", "confirm"]


def test_a_stream_is_erased_piece_by_piece(pair: Pair) -> None:
    alice, _ = connected(pair, None)
    alice.get_key(8)
    alice.get_key(8)
    assert pair.alice_driver.calls[-6:] == ["fetch", "after fetch", "confirm"] * 2


def test_asking_for_more_than_is_left_consumes_nothing(pair: Pair) -> None:
    alice, _ = connected(pair)
    for _ in range(2):
        with pytest.raises(KeysExhaustedError, match="65 bytes were asked for, 64 are left"):
            alice.get_key(65)
    assert "fetch" not in pair.alice_driver.calls
    assert len(alice.get_key(60)) == 60
    with pytest.raises(KeysExhaustedError, match="5 bytes were asked for, 4 are left"):
        alice.get_key(5)
    assert len(alice.get_key()) == 4
    with pytest.raises(KeysExhaustedError):
        alice.get_key()


def test_a_dry_stream_consumes_nothing_and_lives_on(pair: Pair) -> None:
    alice, bob = connected(pair, None)
    with pytest.raises(KeysExhaustedError):
        alice.get_key(4097)
    assert shown(alice.get_key(4096)) == shown(bob.get_key(4096))


@pytest.mark.parametrize("size", [0, -1, 16.0, "16"])
def test_a_size_that_is_no_count_is_refused_and_harms_nothing(size: Any, pair: Pair) -> None:
    with pytest.raises(UsageError):
        pair.alice.start(size=size)
    for session in (connected(pair)[0], connected(pair, None)[0]):
        with pytest.raises(UsageError):
            session.get_key(size)
        assert len(session.get_key(16)) == 16


def test_a_stream_needs_a_size_per_call(pair: Pair) -> None:
    with pytest.raises(UsageError, match=r"get_key\(32\)"):
        connected(pair, None)[0].get_key()


def test_a_size_above_what_the_device_carries_is_refused(pair: Pair) -> None:
    with pytest.raises(UsageError, match="65536"):
        pair.alice.start(size=65537)
    assert "reserve" not in pair.alice_driver.calls


def test_threads_get_disjoint_bytes(pair: Pair) -> None:
    alice, bob = connected(pair, 1024)
    with ThreadPoolExecutor(8) as threads:
        pieces = list(threads.map(lambda _: shown(alice.get_key(16)), range(64)))
    whole = shown(bob.get_key())
    assert sorted(pieces) == sorted(whole[begin : begin + 16] for begin in range(0, 1024, 16))
    assert pair.alice_driver.calls.count("fetch") == 1


def test_the_only_peer_need_not_be_named(pair: Pair) -> None:
    assert pair.alice.start().peer == "bob"


def test_a_peer_must_be_known_and_well_named(pair: Pair) -> None:
    with pytest.raises(UsageError):
        pair.alice.start("../bob")
    with pytest.raises(KeyNotFoundError):
        pair.alice.start("bob", key_id=KeyId.random())


def test_a_device_without_streams_says_so(new_pair: Callable[..., Pair]) -> None:
    pair = new_pair(frozenset({Capability.EXTRACT}))
    with pytest.raises(UnsupportedError, match="session without size"):
        pair.alice.start(size=None)


def test_a_device_whose_keys_stay_inside_says_to_derive(token_pair: Pair) -> None:
    session, _ = connected(token_pair)
    with pytest.raises(UnsupportedError, match=r"derive\(\)"):
        session.get_key(1)


def test_look_up_hands_out_the_whole_key_once(pair: Pair) -> None:
    session = pair.alice.start(size=48)
    session.connect()
    key = pair.bob.get_key_by_id(session.key_id, size=48)
    assert key.ref == session.ref
    assert shown(key) == shown(session.get_key())
    with pytest.raises(KeyNotFoundError):
        pair.bob.get_key_by_id(session.key_id)


def test_look_up_of_another_size_consumes_nothing(pair: Pair) -> None:
    session = pair.alice.start(size=48)
    with pytest.raises(KeyNotFoundError, match="48 bytes, not 32"):
        pair.bob.get_key_by_id(session.key_id, size=32)
    assert len(pair.bob.get_key_by_id(session.key_id)) == 48


def test_a_stream_cannot_be_looked_up(pair: Pair) -> None:
    with pytest.raises(UnsupportedError, match="stream"):
        pair.bob.get_key_by_id(pair.alice.start(size=None).key_id)


def test_look_up_needs_the_capability(new_pair: Callable[..., Pair]) -> None:
    pair = new_pair(frozenset({Capability.EXTRACT}))
    with pytest.raises(UnsupportedError, match="get_key_by_id"):
        pair.bob.get_key_by_id(KeyId.random())


def test_look_up_of_keys_that_stay_inside_consumes_nothing(token_pair: Pair) -> None:
    session = token_pair.alice.start(size=32)
    with pytest.raises(UnsupportedError, match=r"derive\(\)"):
        token_pair.bob.get_key_by_id(session.key_id)
    assert "fetch" not in token_pair.bob_driver.calls


def test_closing_a_session_overwrites_what_is_left(pair: Pair) -> None:
    alice, _ = connected(pair)
    with alice:
        alice.get_key(8)
        buffer = _buffer(alice)
        assert buffer[:8] == bytes(8), "handed-out bytes stayed in the session"
        assert any(buffer[8:])
    assert not any(buffer)
    alice.close()


def test_closing_the_device_closes_its_sessions(pair: Pair) -> None:
    alice, _ = connected(pair)
    alice.get_key(8)
    buffer = _buffer(alice)
    pair.alice.close()
    assert not any(buffer)
    with pytest.raises(DeviceClosedError):
        alice.get_key(8)
    alice.close()


def test_a_session_that_nobody_closed_overwrites_its_bytes(pair: Pair) -> None:
    alice, _ = connected(pair)
    alice.get_key(8)
    buffer = _buffer(alice)
    del alice
    assert not any(buffer)


def test_material_that_arrives_after_closing_is_overwritten() -> None:
    material, late = Material(), bytearray(b"late key bytes")
    material.seal()
    material.put(late)
    assert not any(late)
    with pytest.raises(KeyConsumedError):
        material.take(1)
    with pytest.raises(KeyConsumedError):
        material.use(bytes)


def test_a_driver_that_answers_another_slot_is_caught(pair: Pair, mocker: MockerFixture) -> None:
    slot = Slot(KeyId.random(), "bob", 16)
    mocker.patch.object(pair.alice_driver, "reserve", return_value=[slot])
    mocker.patch.object(pair.alice_driver, "bind", return_value=slot)
    with pytest.raises(DeviceError, match="something else"):
        pair.alice.start(size=32)
    with pytest.raises(DeviceError, match="another key"):
        pair.alice.start(key_id=KeyId.random())


@pytest.mark.parametrize("size", [0, -1, 65537, 1 << 62])
def test_a_size_from_the_device_is_checked_before_memory_is_taken(
    size: int, pair: Pair, mocker: MockerFixture
) -> None:
    slot = Slot(KeyId.random(), "bob", size)
    mocker.patch.object(pair.alice_driver, "bind", return_value=slot)
    for call in (pair.alice.get_key_by_id, lambda key_id: pair.alice.start(key_id=key_id)):
        with pytest.raises(DeviceError, match=f"a key of {size} bytes"):
            call(slot.key_id)


@pytest.mark.parametrize("site", ["a b", "x" * 65, "\n"])
def test_a_device_that_misnames_itself_is_refused(
    site: str, pair: Pair, raw_driver: MemoryDriver, mocker: MockerFixture
) -> None:
    mocker.patch.object(raw_driver, "open", return_value=replace(pair.alice.info, site=site))
    device = QKDDevice(raw_driver, name="lab")
    with pytest.raises(ProtocolError):
        device.init()
    device.close()


def _buffer(session: QKDSession) -> bytearray:
    return session._material._buffer
