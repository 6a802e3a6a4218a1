"""Fetch, confirm, hand out: what a fault at each step costs, and that nothing comes twice."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from qkd_hal.device import DeviceState, QKDSession
from qkd_hal.errors import (
    DeadlineError,
    DeviceError,
    DeviceLostError,
    KeyConsumedError,
    KeyNotFoundError,
    KeysExhaustedError,
    ProtocolError,
    StateError,
)
from qkd_hal.keys import QuantumKey
from qkd_hal.sources import Capability

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_mock import MockerFixture

    from tests.device.conftest import Pair

ONCE_ONLY = frozenset({Capability.EXTRACT, Capability.LOOK_UP})


def _session(pair: Pair) -> QKDSession:
    session = pair.alice.start(size=32)
    session.connect()
    return session


@pytest.mark.parametrize("error", [ProtocolError("noise"), DeadlineError("slow line")])
def test_a_lost_confirm_is_repeated_once(error: Exception, pair: Pair) -> None:
    session = _session(pair)
    pair.alice_driver.fail("confirm", error)
    assert len(session.get_key()) == 32
    assert pair.alice_driver.calls.count("confirm") == 2
    assert pair.alice_driver.erased(session.key_id)


def test_a_key_that_the_device_cannot_erase_is_burned_and_erased_later(pair: Pair) -> None:
    session = _session(pair)
    pair.alice_driver.fail("confirm", ProtocolError("noise"), ProtocolError("noise"))
    with pytest.raises(ProtocolError):
        session.get_key()
    with pytest.raises(KeyConsumedError):
        session.get_key()
    assert not pair.alice_driver.erased(session.key_id)
    pair.alice.status()
    assert pair.alice_driver.erased(session.key_id)
    pair.alice.status()
    assert pair.alice_driver.calls.count("confirm") == 3, "a settled confirm was sent again"


def test_an_owed_confirm_that_fails_again_stays_owed_and_blocks_nothing(pair: Pair) -> None:
    session = _session(pair)
    pair.alice_driver.fail("confirm", *[ProtocolError("noise")] * 3)
    with pytest.raises(ProtocolError):
        session.get_key()
    assert pair.alice.status() == pair.alice_driver.health
    assert not pair.alice_driver.erased(session.key_id)
    pair.alice.close()
    assert pair.alice_driver.erased(session.key_id)


def test_an_owed_confirm_of_a_key_that_is_gone_is_forgotten(pair: Pair) -> None:
    session = _session(pair)
    pair.alice_driver.fail("confirm", *[ProtocolError("noise")] * 2, KeyNotFoundError("expired"))
    with pytest.raises(ProtocolError):
        session.get_key()
    pair.alice.status()
    pair.alice.status()
    assert pair.alice_driver.calls.count("confirm") == 3


def test_a_confirm_owed_at_a_loss_is_sent_after_init(pair: Pair) -> None:
    session = _session(pair)
    pair.alice_driver.fail("confirm", DeviceLostError("unplugged"))
    with pytest.raises(DeviceLostError):
        session.get_key()
    pair.alice.init()
    pair.alice.status()
    assert pair.alice_driver.erased(session.key_id)


def test_a_lost_fetch_is_repeated_where_the_driver_allows_it(pair: Pair) -> None:
    session = _session(pair)
    pair.alice_driver.fail("after fetch", ProtocolError("the answer was lost"))
    key = session.get_key()
    assert key.matches(pair.link.entries[session.key_id].material)


def test_a_repeatable_fetch_that_fails_twice_may_be_called_again(pair: Pair) -> None:
    session = _session(pair)
    pair.alice_driver.fail("fetch", ProtocolError("noise"), ProtocolError("noise"))
    with pytest.raises(ProtocolError):
        session.get_key()
    assert len(session.get_key()) == 32


def test_a_lost_fetch_burns_the_key_where_it_cannot_be_repeated(
    new_pair: Callable[..., Pair],
) -> None:
    pair = new_pair(ONCE_ONLY)
    session = _session(pair)
    pair.alice_driver.fail("after fetch", ProtocolError("the answer was lost"))
    with pytest.raises(ProtocolError):
        session.get_key()
    assert pair.alice_driver.calls.count("fetch") == 1
    with pytest.raises(KeyConsumedError):
        session.get_key()
    pair.alice.status()
    assert pair.alice_driver.erased(session.key_id)


def test_no_time_to_begin_burns_nothing(new_pair: Callable[..., Pair]) -> None:
    pair = new_pair(ONCE_ONLY)
    session = _session(pair)
    pair.alice._runner._lock.acquire()
    with pytest.raises(DeadlineError, match="busy"):
        session.get_key(timeout=0)
    pair.alice._runner._lock.release()
    assert len(session.get_key()) == 32


@pytest.mark.parametrize("hook", ["after fetch", "confirm"])
def test_key_bytes_do_not_stay_behind_a_failed_delivery(
    hook: str, new_pair: Callable[..., Pair]
) -> None:
    pair = new_pair(ONCE_ONLY)
    session = _session(pair)
    pair.alice_driver.fail(hook, *[ProtocolError("noise")] * 2)
    with pytest.raises(ProtocolError):
        session.get_key()
    out = pair.alice_driver.last_out
    assert len(out) == 32
    assert not any(out)


def test_a_drivers_own_exception_is_named_but_not_quoted(pair: Pair) -> None:
    session = _session(pair)
    pair.alice_driver.fail("fetch", RuntimeError("buffer was 00112233"))
    with pytest.raises(DeviceError, match=r"RuntimeError.*alice's") as caught:
        session.get_key()
    assert "0011" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert pair.alice.state is DeviceState.FAILED
    with pytest.raises(DeviceLostError):
        session.get_key()


def test_an_error_names_the_device_where_its_driver_did_not(pair: Pair) -> None:
    pair.alice_driver.fail("status", ProtocolError("odd"), ProtocolError("odd", device="COM1"))
    for name in ("alice's", "COM1"):
        with pytest.raises(ProtocolError) as caught:
            pair.alice.status()
        assert caught.value.device == name


def test_a_loss_overwrites_the_bytes_of_every_session(pair: Pair) -> None:
    session = _session(pair)
    session.get_key(1)
    buffer = session._material._buffer
    pair.alice_driver.fail("status", DeviceLostError("unplugged"))
    with pytest.raises(DeviceLostError):
        pair.alice.status()
    assert not any(buffer)


def test_keyboard_interrupt_in_the_driver_burns_and_lets_the_next_call_run(
    new_pair: Callable[..., Pair],
) -> None:
    pair = new_pair(ONCE_ONLY)
    session = _session(pair)

    def interrupted() -> None:
        raise KeyboardInterrupt

    pair.alice_driver.faults["after fetch"].append(interrupted)
    with pytest.raises(KeyboardInterrupt):
        session.get_key()
    with pytest.raises(KeyConsumedError):
        session.get_key()
    pair.alice.status()


STREAM_ONCE = ONCE_ONLY | {Capability.STREAM}


def _stream(pair: Pair) -> QKDSession:
    session = pair.alice.start(size=None)
    session.connect()
    return session


def test_a_dry_stream_that_cannot_repeat_is_not_burned(new_pair: Callable[..., Pair]) -> None:
    session = _stream(new_pair(STREAM_ONCE))
    with pytest.raises(KeysExhaustedError):
        session.get_key(4097)
    assert len(session.get_key(4096)) == 4096


def test_a_stream_lives_on_after_a_call_that_never_reached_the_device(
    new_pair: Callable[..., Pair],
) -> None:
    pair = new_pair(STREAM_ONCE)
    session = _stream(pair)
    session.get_key(8)
    with pair.alice._runner._lock, pytest.raises(DeadlineError):
        session.get_key(8, timeout=0)
    assert len(session.get_key(8)) == 8


class _Pause:
    """Stops the driver in its next *hook* until released."""

    def __init__(self, pair: Pair, hook: str) -> None:
        self.inside, self.release = threading.Event(), threading.Event()
        pair.alice_driver.faults[hook].append(self._wait)

    def _wait(self) -> None:
        self.inside.set()
        assert self.release.wait(60)


class _Told:
    """A lock that tells when somebody begins to wait for it."""

    def __init__(self, lock: threading.Lock, waiting: threading.Event) -> None:
        self._lock, self._waiting = lock, waiting
        self.release = lock.release

    def acquire(self, timeout: float) -> bool:
        self._waiting.set()
        return self._lock.acquire(timeout=timeout)


def test_a_thread_that_waited_behind_a_lost_fetch_does_not_fetch_again(
    new_pair: Callable[..., Pair], mocker: MockerFixture
) -> None:
    pair = new_pair(ONCE_ONLY)
    session = _session(pair)
    pause = _Pause(pair, "fetch")
    pair.alice_driver.fail("after fetch", ProtocolError("the answer was lost"))
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(session.get_key)
        assert pause.inside.wait(60)
        turn = session._turn_lock
        waiting = threading.Event()
        mocker.patch.object(session, "_turn_lock", _Told(turn, waiting))
        second = threads.submit(session.get_key, 1)
        assert waiting.wait(60)
        pause.release.set()
        with pytest.raises(ProtocolError):
            first.result(60)
        with pytest.raises(KeyConsumedError):
            second.result(60)
    assert pair.alice_driver.calls.count("fetch") == 1


def test_a_key_that_arrives_after_its_session_closed_is_overwritten(pair: Pair) -> None:
    session = _stream(pair)
    pause = _Pause(pair, "confirm")
    with ThreadPoolExecutor(1) as threads:
        late = threads.submit(session.get_key, 32)
        assert pause.inside.wait(60)
        session.close()
        pause.release.set()
        with pytest.raises(StateError) as caught:
            late.result(60)
    keys = [entry.frame.f_locals.get("key") for entry in caught.traceback]
    assert [len(key) for key in keys if isinstance(key, QuantumKey)] == [0]


class OpenDoor:
    """A lock that lets *visit* in whenever it is released right after a fetch."""

    def __init__(self, calls: list[str], visit: Callable[[], object]) -> None:
        self._lock, self._calls, self._visit = threading.Lock(), calls, visit

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        return self._lock.acquire(blocking, timeout)

    def release(self) -> None:
        self._lock.release()
        if self._calls[-1] == "after fetch":
            self._visit()


def test_nobody_comes_between_a_fetch_and_its_confirm(pair: Pair) -> None:
    key_id = pair.alice.start(size=32).key_id
    given: list[QuantumKey] = []

    def look_up() -> None:
        given.append(pair.bob.get_key_by_id(key_id, "alice"))

    pair.bob._runner._lock = OpenDoor(pair.bob_driver.calls, look_up)  # type: ignore[assignment]
    look_up()
    assert len(given) == 1
