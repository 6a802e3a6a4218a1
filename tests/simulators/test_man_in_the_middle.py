"""Eve between two engines: what she decides, and how her messages travel."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import pytest
import zmq

from qkd_hal.errors import UsageError
from qkd_hal_simulators.eve_relay import ClassicalRelay
from qkd_hal_simulators.man_in_the_middle import (
    ACTIONS,
    ManInTheMiddle,
    make_man_in_the_middle,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

RAW = b"E" + bytes(range(100))


def always(action: str, **options: float) -> ManInTheMiddle:
    more = "".join(f",{name}={value}" for name, value in options.items())
    spec = f"man-in-the-middle:action={action},fraction=1{more}"
    return make_man_in_the_middle(spec, np.random.default_rng(3))


def test_dropped_messages_go_nowhere() -> None:
    assert always("drop").tamper(RAW, 0, 0.0) == []


def test_a_modified_message_differs_in_one_bit() -> None:
    eve = always("modify")
    for _ in range(50):
        (changed,) = eve.tamper(RAW, 0, 0.0)
        bits = np.unpackbits(np.frombuffer(changed, np.uint8) ^ np.frombuffer(RAW, np.uint8))
        assert bits.sum() == 1
    assert eve.tamper(b"", 0, 0.0) != [b""]


def test_forged_messages_come_beside_the_true_one() -> None:
    eve = always("inject")
    forged = [eve.tamper(RAW, 0, 0.0) for _ in range(50)]
    assert all(len(messages) == 2 and messages[1] == RAW for messages in forged)
    assert len({messages[0] for messages in forged}) > 10


def test_replayed_messages_were_heard_from_either_end() -> None:
    eve = always("replay")
    for way, raw in ((0, b"one"), (1, b"two")):
        eve.tamper(raw, way, 0.0)
    replayed = [eve.tamper(b"three", 0, 0.0) for _ in range(50)]
    assert {first for first, _ in replayed} == {b"three"}
    assert {b"one", b"two"} < {second for _, second in replayed}


def test_delayed_messages_come_when_their_time_is_up_and_keep_their_way() -> None:
    eve = always("delay", delay=2.0)
    assert eve.tamper(b"late", 1, 10.0) == []
    assert eve.tamper(b"later", 0, 11.0) == []
    assert eve.due(11.9) == []
    assert eve.due(12.0) == [(1, b"late")]
    assert eve.due(20.0) == [(0, b"later")]
    assert eve.due(30.0) == []


def test_what_she_cannot_hold_goes_through() -> None:
    eve = always("delay")
    passed = [eve.tamper(RAW, 0, 0.0) for _ in range(200)]
    assert passed.count([]) == 64
    assert passed.count([RAW]) == 200 - 64
    assert eve.counts["delay"] == 64


def test_she_takes_her_share_and_no_more_than_her_budget() -> None:
    eve = make_man_in_the_middle("man-in-the-middle:fraction=0.5", np.random.default_rng(1))
    for _ in range(2000):
        eve.tamper(RAW, 0, 0.0)
    assert 800 < eve.counts.total() < 1200
    assert set(eve.counts) == set(ACTIONS)
    limited = always("drop", messages=3)
    assert [limited.tamper(RAW, 0, 0.0) for _ in range(5)] == [[], [], [], [RAW], [RAW]]
    report = limited.to_json()
    assert report == {"messages_heard": 5, "messages_tampered": 3, "drop": 3}


def test_a_seed_replays_her() -> None:
    def one_run() -> list[list[bytes]]:
        eve = make_man_in_the_middle("man-in-the-middle", np.random.default_rng(9))
        return [eve.tamper(bytes([n]), 0, 0.0) for n in range(200)]

    assert one_run() == one_run()


def test_her_memory_is_bounded() -> None:
    eve = always("drop")
    for _ in range(70):
        eve.tamper(bytes(1 << 20), 0, 0.0)
    assert eve._memory._bytes <= 64 << 20
    for _ in range(1000):
        eve.tamper(b"short", 0, 0.0)
    assert len(eve._memory._messages) == 200
    eve.tamper(bytes(65 << 20), 0, 0.0)
    assert not eve._memory._messages
    assert always("replay").tamper(bytes(65 << 20), 0, 0.0)[1] == b""


@pytest.mark.parametrize(
    "spec",
    [
        "noise",
        "man-in-the-middle:action=laugh",
        "man-in-the-middle:delay=-1",
        "man-in-the-middle:basis=x",
    ],
)
def test_what_is_no_such_adversary_is_refused(spec: str) -> None:
    with pytest.raises(UsageError) as caught:
        make_man_in_the_middle(spec, np.random.default_rng())
    assert caught.value.cure


class Wire:
    """Two ends of a classical channel with Eve between them."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        self.alice, self.bob, self.near, self.far = (context.socket(zmq.DEALER) for _ in range(4))
        for end, eve, name in ((self.alice, self.near, "a"), (self.bob, self.far, "b")):
            end.rcvtimeo = 5000
            end.linger = eve.linger = 0
            eve.bind(f"inproc://{name}")
            end.connect(f"inproc://{name}")
        self.heard: list[bytes] = []
        self.now = 0.0

    def close(self) -> None:
        for end in (self.alice, self.bob, self.near, self.far):
            end.close()


@contextmanager
def relayed(tampering: ManInTheMiddle | None = None) -> Iterator[Wire]:
    stop = threading.Event()
    with zmq.Context() as context:
        wire = Wire(context)
        relay = ClassicalRelay(
            wire.near,
            wire.far,
            hear=wire.heard.append,
            tampering=tampering,
            clock=lambda: wire.now,
        )
        thread = threading.Thread(target=relay.run, args=(stop,))
        thread.start()
        try:
            yield wire
        finally:
            stop.set()
            thread.join()
            wire.close()


def test_messages_pass_both_ways_and_she_hears_those_of_the_engines() -> None:
    with relayed() as wire:
        wire.alice.send(b"Eone")
        assert wire.bob.recv() == b"Eone"
        wire.bob.send(b"H\1")
        assert wire.alice.recv() == b"H\1"
        wire.bob.send(b"Etwo")
        assert wire.alice.recv() == b"Etwo"
        assert wire.heard == [b"one", b"two"]


def test_she_hears_what_she_tampers_with_as_it_was() -> None:
    with relayed(always("modify", messages=1)) as wire:
        wire.alice.send(RAW)
        assert wire.bob.recv() != RAW
        wire.alice.send(RAW)
        assert wire.bob.recv() == RAW
        assert wire.heard == [RAW[1:], RAW[1:]]


def test_a_delayed_message_is_overtaken_and_arrives_at_the_right_end() -> None:
    with relayed(always("delay", delay=0.2, messages=1)) as wire:
        wire.bob.send(b"first")
        wire.bob.send(b"second")
        assert wire.alice.recv() == b"second"
        wire.now = 0.3
        assert wire.alice.recv() == b"first"
