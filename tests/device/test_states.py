"""The state table: enforced for every call, and drawn in the documentation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from qkd_hal.device import DeviceState, QKDDevice, QKDSession, SessionState, state_table_markdown
from qkd_hal.errors import (
    DeviceClosedError,
    DeviceLostError,
    KeyConsumedError,
    KeyMismatchError,
    QKDError,
    StateError,
)
from qkd_hal.keys import KeyId

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.device.conftest import MemoryDriver, Pair

DEVICE_CALLS: dict[str, Callable[[QKDDevice], object]] = {
    "info": lambda device: device.info,
    "status": lambda device: device.status(),
    "start": lambda device: device.start("bob"),
    "get_key_by_id": lambda device: device.get_key_by_id(KeyId.random(), "bob"),
    "events": lambda device: device.events(),
}
SESSION_CALLS: dict[str, Callable[[QKDSession], object]] = {
    "connect": lambda session: session.connect(),
    "get_key": lambda session: session.get_key(1),
    "derive": lambda session: session.derive(b"other"),
}


def test_the_documentation_holds_the_table() -> None:
    document = Path(__file__).parents[2] / "docs" / "api.md"
    assert state_table_markdown() in document.read_text()


@pytest.mark.parametrize("call", DEVICE_CALLS)
def test_a_new_device_says_to_call_init(call: str, raw_driver: MemoryDriver) -> None:
    device = QKDDevice(raw_driver, name="lab")
    with pytest.raises(StateError, match=rf"{call}\(\).*device lab.*Call init\(\) first"):
        DEVICE_CALLS[call](device)
    assert raw_driver.calls == []


@pytest.mark.parametrize("call", [*DEVICE_CALLS, "init"])
def test_a_closed_device_says_to_open_it_anew(call: str, pair: Pair) -> None:
    pair.alice.close()
    with pytest.raises(DeviceClosedError, match=r"open_device\(\)"):
        (DEVICE_CALLS | {"init": lambda device: device.init()})[call](pair.alice)


@pytest.mark.parametrize("call", sorted(DEVICE_CALLS.keys() - {"info"}))
def test_a_failed_device_says_to_call_init(call: str, pair: Pair) -> None:
    _lose(pair)
    assert pair.alice.info.model == "Memory"
    with pytest.raises(DeviceLostError, match=r"Call init\(\)"):
        DEVICE_CALLS[call](pair.alice)


def _lose(pair: Pair) -> None:
    pair.alice_driver.fail("status", DeviceLostError("unplugged"))
    with pytest.raises(DeviceLostError):
        pair.alice.status()
    assert pair.alice.state is DeviceState.FAILED


def _connected(pair: Pair) -> QKDSession:
    session = pair.alice.start(size=64)
    session.connect()
    return session


def _reading(pair: Pair) -> QKDSession:
    session = _connected(pair)
    session.get_key(1)
    return session


def _deriving(pair: Pair) -> QKDSession:
    session = _connected(pair)
    session.derive(b"one")
    return session


def _burned(pair: Pair) -> QKDSession:
    session = pair.alice.start(size=64)
    pair.link.differing.add(session.key_id)
    with pytest.raises(KeyMismatchError):
        session.connect()
    return session


def _lost(pair: Pair) -> QKDSession:
    session = _connected(pair)
    _lose(pair)
    pair.alice.init()
    return session


def _closed(pair: Pair) -> QKDSession:
    session = _connected(pair)
    session.close()
    return session


_ILLEGAL = [
    (lambda pair: pair.alice.start(), SessionState.STARTED, "get_key derive", StateError),
    (_connected, SessionState.CONNECTED, "connect", StateError),
    (_reading, SessionState.READING, "connect derive", StateError),
    (_deriving, SessionState.DERIVING, "connect get_key", StateError),
    (_burned, SessionState.BURNED, "connect get_key derive", KeyConsumedError),
    (_lost, SessionState.LOST, "connect get_key derive", DeviceLostError),
    (_closed, SessionState.CLOSED, "connect get_key derive", StateError),
]


@pytest.mark.parametrize(
    ("make", "state", "call", "error"),
    [
        (make, state, call, error)
        for make, state, calls, error in _ILLEGAL
        for call in calls.split()
    ],
)
def test_a_session_call_out_of_order_says_what_to_call(
    make: Callable[[Pair], QKDSession],
    state: SessionState,
    call: str,
    error: type[QKDError],
    pair: Pair,
) -> None:
    session = make(pair)
    before = list(pair.alice_driver.calls)
    with pytest.raises(error, match=rf"{call}\(\).*{state.value}") as caught:
        SESSION_CALLS[call](session)
    assert caught.value.cure
    assert pair.alice_driver.calls == before, "the driver was bothered"
    session.close()


def test_init_twice_opens_once(pair: Pair) -> None:
    assert pair.alice.init() == pair.alice.info
    assert pair.alice_driver.open_count == 1


def test_a_failed_device_is_opened_again_by_init(pair: Pair) -> None:
    _lose(pair)
    pair.alice.init()
    assert pair.alice.status() == pair.alice_driver.health


def test_a_with_block_that_cannot_open_closes_the_driver(raw_driver: MemoryDriver) -> None:
    raw_driver.fail("open", DeviceLostError("gone"))
    with pytest.raises(DeviceLostError), QKDDevice(raw_driver, name="lab"):
        pass
    assert raw_driver.close_count == 1


def test_closing_twice_closes_the_driver_once(pair: Pair) -> None:
    pair.alice.close()
    pair.alice.close()
    assert pair.alice_driver.close_count == 1
