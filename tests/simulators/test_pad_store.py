"""The durable pad behaves like the engine's own model of it, and forgets what it spent."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qkd_hal.distillation.authentication import Direction, MemoryPad, PadPosition
from qkd_hal.errors import AuthenticationError, ConfigurationError, PadExhaustedError
from qkd_hal_simulators.modem.database import Database
from qkd_hal_simulators.modem.pad_store import PadStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulators.conftest import OpenStore

SECRET = hashlib.shake_256(b"an initial secret").digest(512)
REFILL = bytes(range(128))

STEPS = st.one_of(
    st.just(("take",)),
    st.tuples(st.just("append"), st.integers(0, 5)),
    st.tuples(st.just("confirm"), st.integers(0, 5)),
    st.tuples(st.just("drop"), st.integers(0, 5)),
    st.tuples(st.just("accept"), st.integers(0, 6), st.integers(0, 20)),
)


def outcome(pad: PadStore | MemoryPad, step: tuple[str, int, int]) -> object:
    try:
        if step[0] == "take":
            return pad.take()
        if step[0] == "accept":
            position = PadPosition(*step[1:])
            mask = pad.expect(position)
            pad.accept(position)
            return mask
        if step[0] == "append":
            return pad.append(step[1], memoryview(REFILL))
        return getattr(pad, step[0])(step[1])
    except (AuthenticationError, PadExhaustedError) as error:
        return type(error)


@given(st.lists(STEPS, max_size=40), st.booleans())
@settings(max_examples=25, deadline=None)  # each step waits for the disk
def test_it_agrees_with_the_pad_in_memory(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int]], first: bool
) -> None:
    database = Database(tmp_path_factory.mktemp("pad") / "store.sqlite3")
    durable = PadStore(database, first=first)
    durable.install(memoryview(SECRET))
    model = MemoryPad(SECRET, first=first)
    appended: set[int] = set()
    for step in steps:
        if step[0] == "append" and (step[1] in appended or step[1] < max(appended, default=0)):
            continue  # a host appends each block once, in order
        appended |= {step[1]} if step[0] == "append" else set()
        assert outcome(durable, step) == outcome(model, step)
        assert durable.marks == model.marks
    assert durable.hash_key(Direction.SENT) == model.hash_key(Direction.SENT)
    database.close()


def test_the_two_ends_hold_each_other_s_masks(open_store: Callable[..., OpenStore]) -> None:
    first = open_store(first=True).pad
    position, mask = first.take()
    second = MemoryPad(SECRET, first=False)
    assert second.expect(position) == mask
    assert first.hash_key(Direction.SENT) == second.hash_key(Direction.RECEIVED)


def test_a_position_is_spent_before_take_returns(open_store: Callable[..., OpenStore]) -> None:
    taken = {open_store().pad.take() for _ in range(5)}
    assert len({position for position, _ in taken}) == 5
    assert len({mask for _, mask in taken}) == 5


def test_spent_masks_are_gone_from_the_database(store: OpenStore) -> None:
    _, mask = store.pad.take()
    accepted = PadPosition(0, 3)
    peers = store.pad.expect(accepted)
    store.pad.accept(accepted)
    with store.database.transaction() as sql:
        halves = b"".join(row[0] for row in sql.execute("SELECT material FROM pad"))
    assert mask not in halves
    assert peers not in halves


def test_an_accepted_position_is_refused_after_a_restart(
    open_store: Callable[..., OpenStore],
) -> None:
    open_store().pad.accept(PadPosition(0, 3))
    again = open_store().pad
    for offset in (1, 2, 3):
        with pytest.raises(AuthenticationError, match="used before"):
            again.expect(PadPosition(0, offset))
    assert again.expect(PadPosition(0, 4))


def test_remaining_counts_confirmed_masks_only(store: OpenStore) -> None:
    before = store.pad.remaining
    assert before == len(SECRET) // 2 // 16 - 1  # the hash key
    store.pad.append(0, memoryview(REFILL))
    assert store.pad.remaining == before
    store.pad.confirm(0)
    assert store.pad.remaining == before + 4
    store.pad.take()
    assert store.pad.remaining == before + 3


def test_earlier_segments_are_deleted_when_positions_pass_them(store: OpenStore) -> None:
    for block in (0, 1):
        store.pad.append(block, memoryview(REFILL))
        store.pad.confirm(block)
    while store.pad.take()[0].segment < 2:
        pass
    with store.database.transaction() as sql:
        rows = sql.execute("SELECT segment FROM pad WHERE sent ORDER BY segment").fetchall()
    assert rows == [(0,), (2,)]


def test_a_short_secret_is_refused(open_store: Callable[..., OpenStore]) -> None:
    with pytest.raises(ConfigurationError, match="31 bytes"):
        open_store().pad.install(memoryview(bytes(31)))
