"""Keys that came along: held once, overwritten as soon as they are not wanted."""

from __future__ import annotations

import os

import pytest

from qkd_hal.keys import KeyId
from qkd_hal_drivers.boxlink import held as held_module
from qkd_hal_drivers.boxlink.held import HeldKeys

KEY = bytes(range(1, 33))
ONE, OTHER = (("bob", KeyId.from_bytes(bytes([n]) * 16)) for n in (1, 2))


@pytest.fixture
def held() -> HeldKeys:
    keys = HeldKeys()
    keys.put(ONE, memoryview(KEY))
    return keys


def moved(held: HeldKeys, name: tuple[str, KeyId], size: int = 32) -> bytes | None:
    out = bytearray(size)
    return bytes(out) if held.move(name, memoryview(out)) else None


def test_a_key_is_moved_out_once(held: HeldKeys) -> None:
    buffer = held._keys[ONE]
    assert moved(held, ONE) == KEY
    assert not any(buffer)
    assert moved(held, ONE) is None


@pytest.mark.parametrize("size", [0, 31, 33])
def test_who_wants_another_number_of_bytes_fetches_them(held: HeldKeys, size: int) -> None:
    buffer = held._keys[ONE]
    out = bytearray(size)
    assert not held.move(ONE, memoryview(out))
    assert not any(out)
    assert not any(buffer)
    assert ONE not in held


def test_keys_are_told_apart_by_peer_and_id(held: HeldKeys) -> None:
    held.put(OTHER, memoryview(KEY[::-1]))
    assert moved(held, ("eve", ONE[1])) is None
    assert moved(held, OTHER) == KEY[::-1]
    assert moved(held, ONE) == KEY


def test_what_is_dropped_is_overwritten(held: HeldKeys) -> None:
    buffer = held._keys[ONE]
    held.drop(ONE)
    held.drop(ONE)
    assert not any(buffer)
    assert ONE not in held


def test_a_key_that_comes_again_takes_the_place_of_the_first(held: HeldKeys) -> None:
    buffer = held._keys[ONE]
    held.put(ONE, memoryview(KEY[::-1]))
    assert not any(buffer)
    assert moved(held, ONE) == KEY[::-1]


def test_it_holds_a_copy(held: HeldKeys) -> None:
    lent = bytearray(KEY)
    held.put(OTHER, memoryview(lent))
    lent[:] = bytes(32)
    assert moved(held, OTHER) == KEY


def test_the_oldest_go_when_there_are_many(held: HeldKeys) -> None:
    oldest = held._keys[ONE]
    names = [("bob", KeyId.random()) for _ in range(held_module._MAX_HELD)]
    for name in names:
        held.put(name, memoryview(KEY))
    assert not any(oldest)
    assert [ONE in held, *(name in held for name in names)] == [False] + [True] * len(names)


def test_closing_overwrites_all_and_takes_no_more(held: HeldKeys) -> None:
    held.put(OTHER, memoryview(KEY))
    buffers = list(held._keys.values())
    held.close()
    assert not any(map(any, buffers))
    held.put(ONE, memoryview(KEY))
    assert held._keys == {}


def test_a_key_that_is_put_while_another_thread_closes_does_not_stay() -> None:
    held = HeldKeys()

    class Table(dict[tuple[str, KeyId], bytearray]):
        def __setitem__(self, name: tuple[str, KeyId], key: bytearray) -> None:
            held.close()
            buffers.append(key)
            super().__setitem__(name, key)

    buffers: list[bytearray] = []
    held._keys = Table()
    held.put(ONE, memoryview(KEY))
    assert held._keys == {}
    assert not any(buffers[0])


def test_a_forked_child_has_no_keys(held: HeldKeys) -> None:
    buffer = held._keys[ONE]
    child = os.fork()
    if child == 0:
        os._exit(int(any(buffer) or ONE in held))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert moved(held, ONE) == KEY
