"""Keys at rest: owned by one end, reserved and taken once, burned when in doubt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qkd_hal.errors import KeyNotFoundError, KeysExhaustedError, StoreError
from qkd_hal.key_ids import KeyPlace
from qkd_hal_simulators.modem.database import Database
from qkd_hal_simulators.modem.key_store import KeyStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.simulators.conftest import OpenStore

OWN = bytes(range(1, 101))
THEIRS = bytes(range(101, 201))
KEY = OWN + THEIRS


def read(store: OpenStore, place: KeyPlace, *, own: bool) -> bytes:
    out = bytearray(place.length)
    store.keys.read(place, memoryview(out), own=own)
    return bytes(out)


def material(store: OpenStore, *, own: bool) -> bytes:
    with store.database.transaction() as sql:
        rows = sql.execute("SELECT material FROM space WHERE own = ?", (own,)).fetchall()
    return b"".join(row[0] for row in rows)


def test_the_halves_go_to_opposite_owners_at_the_two_ends(
    open_store: Callable[..., OpenStore],
) -> None:
    first = open_store(first=True)
    first.add(0, KEY)
    assert (material(first, own=True), material(first, own=False)) == (OWN, THEIRS)
    second = open_store(first=False)
    second.add(1, KEY)
    assert read(second, KeyPlace(1, 0, 100), own=True) == THEIRS


def test_buffers_are_wiped_once_stored(store: OpenStore) -> None:
    key, refill = bytearray(KEY), bytearray(b"\x55" * 128)
    store.blocks.add(0, key, refill)
    assert not any(key)
    assert not any(refill)


def test_reservations_never_overlap(store: OpenStore) -> None:
    store.add(0, KEY)
    places = store.keys.reserve(30, 3)
    assert [(place.offset, place.length) for place in places] == [(0, 30), (30, 30), (60, 30)]
    assert store.keys.remaining(own=True) == 10


def test_nothing_starts_from_an_unconfirmed_block(store: OpenStore) -> None:
    store.add(0, KEY, confirm=False)
    with pytest.raises(KeysExhaustedError):
        store.keys.reserve(1, 1)
    assert store.keys.remaining(own=True) == 0
    store.blocks.confirm(0)
    assert store.keys.reserve(1, 1) == [KeyPlace(0, 0, 1)]


def test_the_peer_can_take_from_a_block_whose_confirmation_got_lost(store: OpenStore) -> None:
    store.add(0, KEY, confirm=False)
    store.keys.take(KeyPlace(0, 0, 10))
    assert read(store, KeyPlace(0, 0, 10), own=False) == THEIRS[:10]


def test_a_reservation_of_several_keys_is_all_or_none(store: OpenStore) -> None:
    store.add(0, KEY)
    with pytest.raises(KeysExhaustedError):
        store.keys.reserve(30, 4)
    assert store.keys.reserve(100, 1) == [KeyPlace(0, 0, 100)]


def test_a_reservation_goes_to_the_next_block_when_the_first_is_too_short(
    store: OpenStore,
) -> None:
    store.add(0, KEY)
    store.add(1, KEY)
    store.keys.reserve(90, 1)
    assert store.keys.reserve(20, 1) == [KeyPlace(1, 0, 20)]
    assert store.keys.reserve(10, 1) == [KeyPlace(0, 90, 10)]


def test_a_reservation_survives_a_restart_as_consumed(
    open_store: Callable[..., OpenStore],
) -> None:
    store = open_store()
    store.add(0, KEY)
    store.keys.reserve(30, 1)
    again = open_store()
    assert again.keys.reserve(30, 1) == [KeyPlace(0, 30, 30)]
    assert material(again, own=True) == bytes(30) + OWN[30:]


def test_a_key_is_taken_once(store: OpenStore) -> None:
    store.add(0, KEY)
    place = KeyPlace(0, 10, 20)
    store.keys.locate(place)
    store.keys.locate(place)
    store.keys.take(place)
    for overlapping in (place, KeyPlace(0, 0, 11), KeyPlace(0, 29, 1), KeyPlace(0, 0, 100)):
        with pytest.raises(KeyNotFoundError):
            store.keys.take(overlapping)
        with pytest.raises(KeyNotFoundError):
            store.keys.locate(overlapping)
    store.keys.take(KeyPlace(0, 0, 10))
    store.keys.take(KeyPlace(0, 30, 70))


def test_a_taken_key_is_burned_by_a_restart_but_its_neighbours_are_not(
    open_store: Callable[..., OpenStore],
) -> None:
    store = open_store()
    store.add(0, KEY)
    store.keys.take(KeyPlace(0, 10, 20))
    again = open_store()
    with pytest.raises(KeyNotFoundError):
        again.keys.take(KeyPlace(0, 10, 20))
    assert material(again, own=False) == THEIRS[:10] + bytes(20) + THEIRS[30:]


@pytest.mark.parametrize("place", [KeyPlace(1, 0, 1), KeyPlace(0, 100, 1), KeyPlace(0, 90, 11)])
def test_places_that_do_not_exist_cannot_be_taken(store: OpenStore, place: KeyPlace) -> None:
    store.add(0, KEY)
    with pytest.raises(KeyNotFoundError):
        store.keys.take(place)


@given(st.lists(st.tuples(st.integers(0, 39), st.integers(1, 40)), max_size=30))
@settings(max_examples=20, deadline=None)  # each step waits for the disk
def test_taken_intervals_are_those_of_a_set_of_bytes(
    tmp_path_factory: pytest.TempPathFactory, wishes: list[tuple[int, int]]
) -> None:
    path = tmp_path_factory.mktemp("taken") / "store.sqlite3"
    database = Database(path)
    store = KeyStore(database, capacity=1 << 20)
    store.add_block(0, bytearray(40), bytearray(range(40)))
    taken: set[int] = set()
    for offset, length in wishes:
        wanted = set(range(offset, offset + length))
        free = not wanted & taken and max(wanted) < 40
        if free:
            store.take(KeyPlace(0, offset, length))
            taken |= wanted
        else:
            with pytest.raises(KeyNotFoundError):
                store.take(KeyPlace(0, offset, length))
    assert store.remaining(own=False) == 40 - len(taken)
    with database.transaction() as sql:
        runs = sum(1 for byte in taken if byte - 1 not in taken)
        assert sql.execute("SELECT count(*) FROM taken").fetchone() == (runs,)
    database.close()


def test_erasing_overwrites_and_the_last_erasure_deletes_the_half(store: OpenStore) -> None:
    store.add(0, KEY)
    whole = store.keys.reserve(50, 2)
    store.keys.erase(whole[0], own=True)
    assert material(store, own=True) == bytes(50) + OWN[50:]
    store.keys.erase(whole[1], own=True)
    assert material(store, own=True) == b""
    assert material(store, own=False) == THEIRS
    store.keys.erase(whole[1], own=True)


def test_a_used_up_peer_half_is_forgotten_with_its_intervals(store: OpenStore) -> None:
    store.add(0, KEY)
    store.keys.take(KeyPlace(0, 0, 100))
    store.keys.erase(KeyPlace(0, 0, 100), own=False)
    assert store.keys.remaining(own=False) == 0
    with store.database.transaction() as sql:
        assert sql.execute("SELECT count(*) FROM taken").fetchone() == (0,)
    with pytest.raises(KeyNotFoundError):
        store.keys.take(KeyPlace(0, 0, 1))


def test_a_dropped_block_leaves_nothing_but_its_number(
    open_store: Callable[..., OpenStore],
) -> None:
    store = open_store()
    store.add(7, KEY, confirm=False)
    assert store.keys.unconfirmed() == [7]
    store.blocks.drop(7)
    assert store.keys.unconfirmed() == []
    assert material(store, own=False) == b""
    assert open_store().keys.next_block() == 8


def test_block_numbers_are_remembered_when_the_keys_are_used_up(store: OpenStore) -> None:
    assert (store.keys.next_block(), store.keys.ever_stored(0)) == (0, False)
    store.add(0, KEY)
    for place in store.keys.reserve(100, 1):
        store.keys.erase(place, own=True)
    assert store.keys.ever_stored(0)
    assert store.keys.next_block() == 1


def test_a_full_space_overwrites_its_oldest_block_first_at_the_owner(
    open_store: Callable[..., OpenStore],
) -> None:
    store = open_store(capacity=250)
    for number in range(4):
        store.add(number, KEY)
    assert store.keys.remaining(own=True) == 200
    assert store.keys.remaining(own=False) == 400
    assert store.keys.reserve(1, 1) == [KeyPlace(2, 0, 1)]
    store.keys.locate(KeyPlace(0, 0, 1))


def test_reading_an_overwritten_block_is_an_error_and_no_zeros(
    open_store: Callable[..., OpenStore],
) -> None:
    store = open_store(capacity=100)
    store.add(0, KEY)
    (place,) = store.keys.reserve(10, 1)
    store.add(1, KEY)
    with pytest.raises(KeyNotFoundError, match="no longer holds"):
        read(store, place, own=True)


def test_a_failed_transaction_changes_nothing(store: OpenStore) -> None:
    store.add(0, KEY)
    with pytest.raises(StoreError, match="UNIQUE"):
        store.add(0, KEY)
    with pytest.raises(KeysExhaustedError):
        reserve_then_fail(store)
    assert store.keys.reserve(100, 1) == [KeyPlace(0, 0, 100)]


def reserve_then_fail(store: OpenStore) -> None:
    with store.database.transaction():
        store.keys.reserve(100, 1)
        store.keys.reserve(1, 1)


def test_the_file_is_private_and_durable(store: OpenStore, tmp_path: Path) -> None:
    for path in tmp_path.iterdir():
        assert path.stat().st_mode & 0o077 == 0
    with store.database.transaction() as sql:
        assert sql.execute("PRAGMA synchronous").fetchone() == (2,)
        assert sql.execute("PRAGMA secure_delete").fetchone() == (1,)


def test_a_store_of_another_version_is_refused(
    open_store: Callable[..., OpenStore], tmp_path: Path
) -> None:
    with open_store().database.transaction() as sql:
        sql.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match="version 99"):
        Database(tmp_path / "store.sqlite3")
