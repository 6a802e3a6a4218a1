"""The same with await: one bounded executor per device, and results that nobody awaits."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

from qkd_hal.aio import AsyncQKDDevice, AsyncQKDSession
from qkd_hal.device import EventKind, QKDDevice, QKDSession
from qkd_hal.errors import DeadlineError, DeviceClosedError, DeviceLostError, KeyConsumedError
from qkd_hal.keys import QuantumKey
from qkd_hal.sources import Agreement, Alarm, DeviceStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from tests.device.conftest import MemoryDriver, Pair


def run(main: Coroutine[object, object, None]) -> None:
    asyncio.run(asyncio.wait_for(main, 60))


def test_both_ends_get_the_same_key(pair: Pair) -> None:
    async def main() -> None:
        async with AsyncQKDDevice(pair.alice) as alice, AsyncQKDDevice(pair.bob) as bob:
            async with await alice.start("bob", size=64) as ours:
                theirs = await bob.start(key_id=ours.key_id)
                assert await ours.connect() is Agreement.CONFIRMED
                await theirs.connect()
                assert (await ours.get_key(32)).matches(await theirs.get_key(32))
                assert (ours.size, ours.peer, ours.ref) == (64, "bob", theirs.ref)
            other = await alice.start()
            await other.connect()
            key = await bob.get_key_by_id(other.key_id, size=32)
            assert key.matches(await other.get_key())
            derived = await alice.start()
            await derived.connect()
            assert len(await derived.derive(b"tag")) == 32
            assert (await alice.status()).qber == 0.01
            assert alice.info.site == "alice"
            assert alice.name == "alice's"

    run(main())


def test_closing_ends_everything_and_may_come_twice(pair: Pair) -> None:
    async def main() -> None:
        alice = AsyncQKDDevice(pair.alice)
        session = await alice.start()
        await alice.close()
        await alice.close()
        await session.close()
        for _ in range(8):  # more than the executor has threads: none is held by a refused call
            with pytest.raises(DeviceClosedError):
                await alice.status(1)

    run(main())


def test_a_device_that_cannot_open_is_closed(raw_driver: MemoryDriver) -> None:
    raw_driver.fail("open", DeviceLostError("gone"))

    async def main() -> None:
        async with AsyncQKDDevice(QKDDevice(raw_driver, name="lab")):
            raise AssertionError

    with pytest.raises(DeviceLostError):
        run(main())
    assert raw_driver.close_count == 1


def test_six_hung_devices_do_not_stall_a_seventh(new_pair: Callable[..., Pair]) -> None:
    pairs = [new_pair() for _ in range(7)]

    async def main() -> None:
        devices = [AsyncQKDDevice(pair.alice) for pair in pairs]
        for pair in pairs[:6]:
            pair.alice_driver.hang("status")
        hung = [
            asyncio.ensure_future(device.status(60)) for device in devices[:6] for _ in range(4)
        ]
        async with await devices[6].start() as session:
            await session.connect()
            assert len(await session.get_key()) == 32
        assert not any(task.done() for task in hung)
        for device in devices:
            await device.close()
        results = await asyncio.gather(*hung, return_exceptions=True)
        assert [type(result) for result in results] == [DeviceClosedError] * 24

    run(main())


def test_a_call_behind_hung_ones_keeps_its_deadline(pair: Pair) -> None:
    async def main() -> None:
        alice = AsyncQKDDevice(pair.alice)
        pair.alice_driver.hang("status")
        hung = [asyncio.ensure_future(alice.status(60)) for _ in range(4)]
        await asyncio.sleep(0)
        with pytest.raises(DeadlineError):
            await alice.status(0.01)
        await alice.close()
        await asyncio.gather(*hung, return_exceptions=True)

    run(main())


def test_a_driver_that_forgets_its_deadline_does_not_hold_the_caller(pair: Pair) -> None:
    async def main() -> None:
        alice = AsyncQKDDevice(pair.alice)
        pair.alice_driver.hang("status")
        with pytest.raises(DeadlineError, match="did not answer"):
            await alice.status(0.01)
        await alice.close()

    run(main())


class _Held:
    """Holds a hook in the driver until released."""

    def __init__(self, driver: MemoryDriver, hook: str) -> None:
        self.inside, self.release = threading.Event(), threading.Event()
        driver.faults[hook].append(self._wait)

    def _wait(self) -> None:
        self.inside.set()
        assert self.release.wait(60)

    async def entered(self) -> None:
        assert await asyncio.to_thread(self.inside.wait, 60)


async def _cancelled(task: asyncio.Future[object], held: _Held) -> None:
    await held.entered()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    held.release.set()


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[QuantumKey]:
    """Every key that is made in the test, kept alive, so that only wiping can empty it."""
    made: list[QuantumKey] = []
    original = QuantumKey.__init__

    def recorded(self: QuantumKey, *arguments: object, **named: object) -> None:
        original(self, *arguments, **named)  # type: ignore[arg-type]
        made.append(self)

    monkeypatch.setattr(QuantumKey, "__init__", recorded)
    return made


def test_a_key_that_comes_after_the_deadline_is_burned(pair: Pair, made: list[QuantumKey]) -> None:
    async def main() -> None:
        alice = AsyncQKDDevice(pair.alice)
        session = await alice.start(size=64)
        await session.connect()
        await session.get_key(32)
        held = _Held(pair.alice_driver, "status")
        blocked = asyncio.ensure_future(alice.status(60))
        await held.entered()
        session.session._turn_lock = _SlowLock(held.release)  # type: ignore[assignment]
        with pytest.raises(DeadlineError, match="did not answer"):
            await session.get_key(32, timeout=0.01)
        held.release.set()
        await blocked
        while len(made) < 2 or len(made[1]):  # run() ends the wait if it is never wiped
            await asyncio.sleep(0.001)
        await alice.close()
        assert alice.device.state.name == "CLOSED"

    run(main())
    assert [len(key) for key in made] == [32, 0]


class _SlowLock:
    """A lock that is granted only after *release*, whatever the deadline was."""

    def __init__(self, release: threading.Event) -> None:
        self._release = release

    def acquire(self, timeout: float) -> bool:
        return self._release.wait(60)

    def release(self) -> None:
        """Nobody else wants it."""


def test_a_key_that_nobody_awaits_is_burned(pair: Pair, made: list[QuantumKey]) -> None:
    async def main() -> None:
        alice = AsyncQKDDevice(pair.alice)
        session = await alice.start(size=64)
        await session.connect()
        held = _Held(pair.alice_driver, "confirm")
        await _cancelled(asyncio.ensure_future(session.get_key(32)), held)
        rest = await session.get_key(32)  # waits for the cancelled call, then gets other bytes
        assert rest.matches(pair.link.entries[session.key_id].material[32:])
        await alice.close()

    run(main())
    with pytest.raises(KeyConsumedError), made[0].exposed():
        pass


def test_a_session_that_nobody_awaits_is_closed(pair: Pair) -> None:
    async def main() -> None:
        alice = AsyncQKDDevice(pair.alice)
        held = _Held(pair.alice_driver, "reserve")
        await _cancelled(asyncio.ensure_future(alice.start()), held)
        await alice.status()
        await alice.close()

    closed: list[object] = []
    original = QKDSession.close

    def recorded(self: QKDSession) -> None:
        closed.append(self)
        original(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(QKDSession, "close", recorded)
        run(main())
    assert len(closed) == 1


def test_events_arrive_and_end_when_the_device_closes(pair: Pair) -> None:
    pair.alice_driver.health = DeviceStatus(alarms=frozenset({Alarm.QBER_HIGH}))

    async def main() -> None:
        alice = AsyncQKDDevice(pair.alice)
        kinds = []
        async for event in alice.events(3600):
            kinds.append(event.kind)
            asyncio.get_running_loop().call_soon(lambda: asyncio.ensure_future(alice.close()))
        assert kinds == [EventKind.ALARM_RAISED]

    run(main())


def test_events_end_with_the_loss_of_the_device(pair: Pair) -> None:
    pair.alice_driver.fail("status", DeviceLostError("unplugged"))

    async def main() -> None:
        alice = AsyncQKDDevice(pair.alice)
        assert [event.kind async for event in alice.events()] == [EventKind.DEVICE_LOST]
        await alice.close()

    run(main())


def test_a_session_closes_after_its_device(pair: Pair) -> None:
    async def main() -> None:
        alice = AsyncQKDDevice(pair.alice)
        async with await alice.start() as session:
            assert isinstance(session, AsyncQKDSession)
            await alice.close()

    run(main())
