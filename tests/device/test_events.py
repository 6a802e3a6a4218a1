"""Events come from the differences of two statuses, for every driver."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

import pytest

from qkd_hal.device import EventKind
from qkd_hal.errors import DeadlineError, DeviceLostError, ProtocolError
from qkd_hal.sources import Alarm, DeviceStatus

if TYPE_CHECKING:
    from tests.device.conftest import Pair

TICK = 0.001


def _play(pair: Pair, *healths: DeviceStatus) -> None:
    """Let the next statuses be *healths*, then lose the device."""

    def set_health(health: DeviceStatus) -> None:
        pair.alice_driver.health = health

    for health in healths:
        pair.alice_driver.faults["status"].append(lambda health=health: set_health(health))  # type: ignore[misc]
    pair.alice_driver.fail("status", DeviceLostError("unplugged"))


def _seen(pair: Pair) -> list[tuple[EventKind, Alarm | None]]:
    return [(event.kind, event.alarm) for event in pair.alice.events(TICK)]


GOOD = DeviceStatus(link_up=True)
LOST = (EventKind.DEVICE_LOST, None)


def test_alarms_are_raised_and_cleared(pair: Pair) -> None:
    noisy = replace(GOOD, alarms=frozenset({Alarm.QBER_HIGH}))
    low = replace(GOOD, alarms=frozenset({Alarm.QBER_HIGH, Alarm.KEYS_LOW}))
    _play(pair, GOOD, noisy, low, low, GOOD)
    assert _seen(pair) == [
        (EventKind.ALARM_RAISED, Alarm.QBER_HIGH),
        (EventKind.ALARM_RAISED, Alarm.KEYS_LOW),
        (EventKind.ALARM_CLEARED, Alarm.QBER_HIGH),
        (EventKind.ALARM_CLEARED, Alarm.KEYS_LOW),
        LOST,
    ]


@pytest.mark.parametrize(
    "down", [DeviceStatus(link_up=False), DeviceStatus(alarms=frozenset({Alarm.LINK_DOWN}))]
)
def test_the_link_goes_down_and_up_once(down: DeviceStatus, pair: Pair) -> None:
    _play(pair, down, down, GOOD)
    assert _seen(pair) == [(EventKind.LINK_DOWN, None), (EventKind.LINK_UP, None), LOST]


def test_an_event_carries_its_status_and_device(pair: Pair) -> None:
    noisy = DeviceStatus(qber=0.12, alarms=frozenset({Alarm.QBER_HIGH}))
    _play(pair, noisy)
    event = next(iter(pair.alice.events(TICK)))
    assert event.status.qber == 0.12
    assert event.device == "alice's"


def test_a_busy_device_is_no_event(pair: Pair) -> None:
    pair.alice_driver.fail("status", DeadlineError("busy"))
    _play(pair, GOOD)
    assert _seen(pair) == [LOST]


def test_other_errors_reach_the_caller(pair: Pair) -> None:
    pair.alice_driver.fail("status", ProtocolError("noise"))
    with pytest.raises(ProtocolError):
        next(iter(pair.alice.events(TICK)))


def test_iteration_ends_when_the_device_closes(pair: Pair) -> None:
    polled = threading.Event()
    pair.alice_driver.faults["status"].append(polled.set)
    with ThreadPoolExecutor(1) as threads:
        watched = threads.submit(lambda: list(pair.alice.events(3600)))
        assert polled.wait(60)
        pair.alice.close()
        assert watched.result(60) == []


def test_iteration_ends_when_close_finds_a_poll_under_way(pair: Pair) -> None:
    pair.alice_driver.hang("status")
    with ThreadPoolExecutor(1) as threads:
        watched = threads.submit(lambda: list(islice(pair.alice.events(3600), 1)))
        assert pair.alice_driver.blocked.wait(60)
        pair.alice.close()
        assert watched.result(60) == []
