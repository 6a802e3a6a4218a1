"""Bad weather on the wire: calls may fail, keys may be lost, nothing may go wrong."""

from __future__ import annotations

import time
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from qkd_hal.errors import QKDError
from qkd_hal.testing.conformance._ends import End, Ends
from qkd_hal.testing.conformance.error_tree import check_told
from qkd_hal.testing.conformance.unplugging import Unplugging

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qkd_hal.device import QKDDevice
    from qkd_hal.emulators import Disturbable
    from qkd_hal.keys import KeyId

__all__ = ["Faults"]

_ROUNDS = 2
_SECONDS = 0.3  # of a call under a fault
_TOGETHER = 2 * _ROUNDS * 4 * _SECONDS  # an attempt has four calls at most
T = TypeVar("T")


class Faults(Unplugging):
    """Each fault that is on offer, for a few exchanges."""

    def test_no_fault_gives_a_wrong_key(self, ends: Ends, cutter: Disturbable) -> None:
        """Under each fault: errors of the tree, in time; the same bytes or none; none twice."""
        for fault in sorted(cutter.faults - {"stall"}):  # stalling has checks of its own
            theirs = [ends.bob.give() for _ in range(_ROUNDS)]
            cutter.fault("alice", fault)
            hasty = End(*ends.devices, patience=0)
            with _short_calls(ends.alice.device), _within(_TOGETHER + self.at_once, fault):
                ours = [_attempt(hasty, hasty.give, fault) for _ in theirs]
                taken = [_attempt(hasty, partial(hasty.take, name), fault) for name, _ in theirs]
            cutter.fault("alice", None)
            with suppress(QKDError):
                ends.alice.device.status()  # of a restart under the last call it may hear only now
            ends.alice.recover()
            _judge_started(ends.bob, [given for given in ours if given is not None], fault)
            _judge_taken(ends.alice, theirs, taken, fault)
            ends.exchange()


@contextmanager
def _short_calls(device: QKDDevice) -> Iterator[None]:
    before, device.timeout = device.timeout, _SECONDS
    try:
        yield
    finally:
        device.timeout = before


@contextmanager
def _within(seconds: float, fault: str) -> Iterator[None]:
    begin = time.monotonic()
    yield
    took = time.monotonic() - begin
    assert took < seconds, f"calls under the fault {fault!r} took {took:.1f} s"


def _attempt(end: End, work: Callable[[], T], fault: str) -> T | None:
    try:
        end.device.init()
        return work()
    except QKDError as error:
        check_told(error, f"the fault {fault!r}")
    return None


def _judge_started(bob: End, given: list[tuple[KeyId, bytes]], fault: str) -> None:
    for key_id, value in given:
        same = bob.take_if_there(key_id) == value
        assert same, f"under the fault {fault!r} one end got a key that the other cannot get"


def _judge_taken(
    alice: End, given: list[tuple[KeyId, bytes]], taken: list[bytes | None], fault: str
) -> None:
    for (key_id, value), got in zip(given, taken, strict=True):
        again = alice.take_if_there(key_id)
        assert got is None or again is None, f"under the fault {fault!r} a key was given twice"
        assert {got, again} <= {value, None}, f"under the fault {fault!r} an end got other bytes"
