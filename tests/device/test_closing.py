"""close() from another thread, waiting one's turn, and fork."""

from __future__ import annotations

import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from qkd_hal.device import DeviceState, QKDDevice
from qkd_hal.errors import (
    DeadlineError,
    DeviceClosedError,
    KeyConsumedError,
    KeyNotFoundError,
    QKDError,
    StateError,
)
from qkd_hal.sources import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_mock import MockerFixture

    from tests.device.conftest import MemoryDriver, Pair

# Python 3.12 warns of fork() among threads, such as those of a test runner; that is the test.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


WHATEVER = [DeviceClosedError("woken"), KeyNotFoundError("odd"), OSError(9, "bad descriptor")]


@pytest.mark.parametrize("then", WHATEVER)
@pytest.mark.parametrize("hook", ["status", "reserve", "bind", "agree", "fetch", "confirm"])
def test_close_wakes_a_blocked_call_whatever_the_driver_says(
    hook: str, then: Exception, pair: Pair, threads: ThreadPoolExecutor
) -> None:
    ours, theirs = pair.alice.start(size=32), pair.bob.start("alice", size=32)
    if hook in ("fetch", "confirm"):
        ours.connect()
    call: dict[str, Callable[[], object]] = {
        "status": pair.alice.status,
        "reserve": pair.alice.start,
        "bind": lambda: pair.alice.get_key_by_id(theirs.key_id, timeout=60),
        "agree": ours.connect,
        "fetch": ours.get_key,
        "confirm": ours.get_key,
    }
    pair.alice_driver.hang(hook, then)
    blocked = threads.submit(call[hook])
    assert pair.alice_driver.blocked.wait(60)
    pair.alice.close()
    with pytest.raises(DeviceClosedError):
        blocked.result(60)


def test_close_wakes_a_call_that_waits_for_its_turn(
    pair: Pair, threads: ThreadPoolExecutor
) -> None:
    pair.alice_driver.hang("status")
    first = threads.submit(pair.alice.status)
    assert pair.alice_driver.blocked.wait(60)
    second = threads.submit(pair.alice.status, timeout=60)
    pair.alice.close()
    for waiting in (first, second):
        with pytest.raises(DeviceClosedError):
            waiting.result(60)


def test_close_during_init_leaves_nothing_open(
    raw_driver: MemoryDriver, threads: ThreadPoolExecutor
) -> None:
    device = QKDDevice(raw_driver, name="lab")
    opening, go_on = threading.Event(), threading.Event()

    def dawdle() -> None:
        opening.set()
        assert go_on.wait(60)

    raw_driver.faults["open"].append(dawdle)
    blocked = threads.submit(device.init)
    assert opening.wait(60)
    device.close()
    go_on.set()
    with pytest.raises(DeviceClosedError):
        blocked.result(60)
    assert raw_driver.close_count == 2, "the driver opened after close() and was left open"
    assert device.state is DeviceState.CLOSED


def test_a_driver_that_fails_to_close_is_logged_without_its_words(
    raw_driver: MemoryDriver, mocker: MockerFixture, caplog: pytest.LogCaptureFixture
) -> None:
    mocker.patch.object(raw_driver, "close", side_effect=OSError("key 00112233"))
    device = QKDDevice(raw_driver, name="lab")
    device.close()
    assert "closing failed with OSError" in caplog.text
    assert "0011" not in caplog.text


def test_a_device_forges_no_line_of_the_log(
    raw_driver: MemoryDriver, mocker: MockerFixture, caplog: pytest.LogCaptureFixture
) -> None:
    info = replace(raw_driver.open(Deadline(1)), vendor="ACME\nWARNING: forged", model="\x1b[2J")
    mocker.patch.object(raw_driver, "open", return_value=info)
    with caplog.at_level("INFO"), QKDDevice(raw_driver, name="lab"):
        assert all(record.getMessage().isprintable() for record in caplog.records)
    assert "ACME" in caplog.text


def test_a_call_waits_for_its_turn_until_its_deadline_only(
    pair: Pair, threads: ThreadPoolExecutor
) -> None:
    session = pair.alice.start()
    pair.alice_driver.hang("agree")
    blocked = threads.submit(session.connect)
    assert pair.alice_driver.blocked.wait(60)
    with pytest.raises(DeadlineError, match="device was busy"):
        pair.alice.status(timeout=0.01)
    with pytest.raises(DeadlineError, match="session was busy"):
        session.connect(timeout=0.01)
    pair.alice.close()
    with pytest.raises(DeviceClosedError):
        blocked.result(60)


def test_one_hook_at_a_time(pair: Pair, threads: ThreadPoolExecutor) -> None:
    inside, most = 0, 0

    def enter() -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        threading.Event().wait(0.002)
        inside -= 1

    pair.alice_driver.faults["status"].extend([enter] * 20)
    calls: list[Future[object]] = [threads.submit(pair.alice.status) for _ in range(20)]
    for call in calls:
        call.result(60)
    assert most == 1


def test_a_deadline_without_end_is_taken(pair: Pair) -> None:
    assert pair.alice.status(timeout=float("inf")) == pair.alice_driver.health


def _error_in_child(call: Callable[[], object]) -> str:
    """Fork, run *call* in the child, and return the name of what it raised there."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            call()
            answer = "nothing"
        except QKDError as error:
            answer = type(error).__name__
        except BaseException as error:
            answer = f"unexpected {error!r}"
        os.write(write, answer.encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    return answer


def test_nothing_survives_fork(pair: Pair) -> None:
    session = pair.alice.start(size=32)
    session.connect()
    session.get_key(1)
    assert _error_in_child(session.get_key) == KeyConsumedError.__name__
    assert _error_in_child(pair.alice.start) == StateError.__name__
    assert len(session.get_key()) == 31, "the fork cost the parent its key"


def test_the_child_of_a_fork_holds_no_session_bytes(pair: Pair) -> None:
    session = pair.alice.start(size=32)
    session.connect()
    session.get_key(1)

    def leak() -> None:
        if any(session._material._buffer):
            raise AssertionError("key bytes in the child")

    assert _error_in_child(leak) == "nothing"


def test_closing_in_a_child_leaves_the_parents_device_alone(pair: Pair) -> None:
    session = pair.alice.start(size=32)

    def close() -> None:
        session.close()
        pair.alice.close()
        assert pair.alice_driver.close_count == 0

    session._material._mutex.acquire()  # as if another thread of the parent held it at fork
    assert _error_in_child(close) == "nothing"
    session._material._mutex.release()
    assert pair.alice.status() == pair.alice_driver.health
