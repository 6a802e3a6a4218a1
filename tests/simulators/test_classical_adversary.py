"""An adversary in the middle of the classical channel, between two real modem processes.

Whatever it does ends in aborted blocks or a clean retry. It never ends in two different keys,
and when it goes away the link works again.
"""

from __future__ import annotations

import random
import threading
import time
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import zmq

from qkd_hal import open_device
from qkd_hal_simulators.emulator import ModemPair

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qkd_hal import QKDDevice

PATIENCE = 30.0
ATTACK_SECONDS = 0.8
_RATE = 0.05  # of the messages: a block takes some forty, so that some blocks get through


class Adversary:
    """Forwards messages between the modems, and asks ``attack`` what becomes of each."""

    def __init__(self) -> None:
        self.attack: Callable[[bytes], list[bytes]] = _honest
        self.touched = 0
        self._stop = threading.Event()
        self._context = zmq.Context()
        self._thread: threading.Thread | None = None

    def tap(self, address: str) -> str:
        near, far = (self._context.socket(zmq.DEALER) for _ in range(2))
        near.linger = far.linger = 0
        port = near.bind_to_random_port("tcp://127.0.0.1")
        far.connect(f"tcp://{address}")
        self._thread = threading.Thread(target=self._run, args=(near, far))
        self._thread.start()
        return f"127.0.0.1:{port}"

    def close(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self._context.term()

    def _run(self, near: zmq.Socket[bytes], far: zmq.Socket[bytes]) -> None:
        with near, far:
            poller = zmq.Poller()
            poller.register(near, zmq.POLLIN)
            poller.register(far, zmq.POLLIN)
            while not self._stop.is_set():
                for source, _ in poller.poll(50):
                    self._pass(source, far if source is near else near)

    def _pass(self, source: zmq.Socket[bytes], target: zmq.Socket[bytes]) -> None:
        raw = source.recv()
        passed = self.attack(raw)
        self.touched += passed != [raw]
        for message in passed:
            if target.poll(0, zmq.POLLOUT):
                target.send(message)


def _honest(raw: bytes) -> list[bytes]:
    return [raw]


def dropping(dice: random.Random) -> Callable[[bytes], list[bytes]]:
    return lambda raw: [] if dice.random() < _RATE else [raw]


def truncating(dice: random.Random) -> Callable[[bytes], list[bytes]]:
    return lambda raw: [raw[: dice.randrange(len(raw))] if dice.random() < _RATE else raw]


def flipping(dice: random.Random) -> Callable[[bytes], list[bytes]]:
    def attack(raw: bytes) -> list[bytes]:
        if dice.random() >= _RATE:
            return [raw]
        at = dice.randrange(len(raw))
        return [raw[:at] + bytes([raw[at] ^ 1 << dice.randrange(8)]) + raw[at + 1 :]]

    return attack


def replaying(dice: random.Random) -> Callable[[bytes], list[bytes]]:
    heard: list[bytes] = []

    def attack(raw: bytes) -> list[bytes]:
        heard.append(raw)
        return [raw, dice.choice(heard[-200:])] if dice.random() < 2 * _RATE else [raw]

    return attack


def reordering(dice: random.Random) -> Callable[[bytes], list[bytes]]:
    held: list[bytes] = []

    def attack(raw: bytes) -> list[bytes]:
        if held:
            return [raw, held.pop()]
        if dice.random() < _RATE:
            held.append(raw)
            return []
        return [raw]

    return attack


def injecting(dice: random.Random) -> Callable[[bytes], list[bytes]]:
    def attack(raw: bytes) -> list[bytes]:
        if dice.random() >= 2 * _RATE:
            return [raw]
        return [dice.choice((b"", b"E", b"H\1", b"E" + dice.randbytes(60), raw[:30])), raw]

    return attack


def cutting(_: random.Random) -> Callable[[bytes], list[bytes]]:
    return lambda _raw: []


@dataclass
class Link:
    """Two open modems, and the adversary between them."""

    adversary: Adversary
    alice: QKDDevice
    bob: QKDDevice

    def blocks(self) -> list[int]:
        return [int(device.status().details["blocks"]) for device in (self.alice, self.bob)]


@pytest.fixture(scope="module")
def link() -> Iterator[Link]:
    adversary = Adversary()
    with (
        closing(adversary),
        ModemPair(classical_tap=adversary.tap) as pair,
        open_device(pair.alice_url) as alice,
        open_device(pair.bob_url) as bob,
    ):
        yield Link(adversary, alice, bob)


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def compare_keys(starter: QKDDevice, answerer: QKDDevice) -> None:
    """Start keys from a block and more at one end, and compare them at the other."""
    for _ in range(20):
        session = starter.start(peer=answerer.info.site, size=32)
        session.connect()
        mine = session.get_key(32)
        theirs = answerer.get_key_by_id(session.key_id, peer=starter.info.site)
        assert mine.matches(theirs)


@pytest.mark.parametrize(
    "make", [dropping, truncating, flipping, replaying, reordering, injecting, cutting]
)
def test_an_adversary_costs_blocks_and_never_makes_keys_differ(
    link: Link, make: Callable[[random.Random], Callable[[bytes], list[bytes]]]
) -> None:
    until(lambda: min(link.blocks()) >= 1)
    touched = link.adversary.touched
    link.adversary.attack = make(random.Random(7))
    time.sleep(ATTACK_SECONDS)
    link.adversary.attack = _honest
    assert link.adversary.touched > touched
    after = max(link.blocks())
    until(lambda: min(link.blocks()) >= after + 2)
    compare_keys(link.alice, link.bob)
    compare_keys(link.bob, link.alice)
