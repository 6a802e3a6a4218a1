"""The same devices and sessions with ``await``.

Each device has one bounded executor of its own, so that a hung device stalls neither the
event loop nor another device. A cancelled ``await`` cannot stop the thread: the call runs
on to its deadline, and a key that comes out of it is overwritten, since nobody awaits it.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from qkd_hal import registry
from qkd_hal.device.events import Watch
from qkd_hal.device.session import QKDSession
from qkd_hal.errors import DeadlineError, DeviceClosedError, QKDError
from qkd_hal.keys import QuantumKey
from qkd_hal.sources import Deadline

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator, Callable

    from qkd_hal.config import Configuration
    from qkd_hal.device.device import QKDDevice
    from qkd_hal.device.events import Event
    from qkd_hal.keys import KeyId, KeyRef
    from qkd_hal.sources import Agreement, DeviceInfo, DeviceStatus

__all__ = ["AsyncQKDDevice", "AsyncQKDSession", "open_device"]

_CALLS = 4  # at once; hooks take turns anyway, so that more threads would only wait
_GRACE = 0.25  # seconds past the deadline in which the call's own, better error may arrive

T = TypeVar("T")


def open_device(
    url_or_name: str,
    *,
    config: Configuration | None = None,
    timeout: float | None = None,
    record: str | os.PathLike[str] | None = None,
) -> AsyncQKDDevice:
    """Return the device as :func:`qkd_hal.open_device` does; ``async with`` initialises it."""
    device = registry.open_device(url_or_name, config=config, timeout=timeout, record=record)
    return AsyncQKDDevice(device)


class _Threads:
    """The threads of one device. One more than there are calls, so that close() has its own."""

    def __init__(self, device: QKDDevice) -> None:
        self._device = device
        self._executor = ThreadPoolExecutor(_CALLS + 1, thread_name_prefix="qkd-hal")
        self._free = asyncio.Semaphore(_CALLS)

    async def call(self, work: Callable[[float | None], T], timeout: float | None) -> T:
        """Run *work* with the seconds that are left once a thread is free."""
        deadline = Deadline(self._device.timeout if timeout is None else timeout)
        try:
            await asyncio.wait_for(self._free.acquire(), deadline.remaining())
        except TimeoutError:
            raise self._late() from None
        loop = asyncio.get_running_loop()
        future = self._submit(lambda: work(deadline.remaining()))
        future.add_done_callback(lambda _: _tell(loop, self._free.release))
        return await self._result(future, deadline)

    async def close(self) -> None:
        """Close the device, which wakes the calls that wait for it; then let the threads go."""
        try:
            await asyncio.wrap_future(self._executor.submit(self._device.close))
        except RuntimeError:
            return  # closed before: the executor takes no more work
        self._executor.shutdown(wait=False)

    def _submit(self, work: Callable[[], T]) -> Future[T]:
        try:
            return self._executor.submit(work)
        except RuntimeError:
            self._free.release()
            raise DeviceClosedError("the device was closed", device=self._device.name) from None

    async def _result(self, future: Future[T], deadline: Deadline) -> T:
        left = deadline.remaining()
        try:
            within = None if left is None else left + _GRACE
            return await asyncio.wait_for(asyncio.wrap_future(future), within)
        except asyncio.CancelledError:
            _burn_result(future)
            raise
        except TimeoutError as error:
            if isinstance(error, DeadlineError):
                raise
            _burn_result(future)
            raise self._late() from None

    def _late(self) -> DeadlineError:
        return DeadlineError("the device did not answer in time", device=self._device.name)


class AsyncQKDDevice:
    """:class:`~qkd_hal.device.QKDDevice` with ``await``; same methods, same errors.

    Belongs to the event loop in which it is first awaited.
    """

    def __init__(self, device: QKDDevice) -> None:
        self.device = device
        self._threads = _Threads(device)
        self._closed = asyncio.Event()

    @property
    def name(self) -> str:
        """What messages call the device."""
        return self.device.name

    @property
    def info(self) -> DeviceInfo:
        """What the device is."""
        return self.device.info

    async def init(self, timeout: float | None = None) -> DeviceInfo:
        """See :meth:`QKDDevice.init`."""
        return await self._threads.call(self.device.init, timeout)

    async def status(self, timeout: float | None = None) -> DeviceStatus:
        """See :meth:`QKDDevice.status`."""
        return await self._threads.call(self.device.status, timeout)

    async def start(
        self,
        peer: str | None = None,
        *,
        size: int | None = 32,
        key_id: KeyId | None = None,
        timeout: float | None = None,
    ) -> AsyncQKDSession:
        """See :meth:`QKDDevice.start`."""
        start = self.device.start
        session = await self._threads.call(
            lambda left: start(peer, size=size, key_id=key_id, timeout=left), timeout
        )
        return AsyncQKDSession(session, self._threads)

    async def get_key_by_id(
        self,
        key_id: KeyId,
        peer: str | None = None,
        *,
        size: int | None = None,
        timeout: float | None = None,
    ) -> QuantumKey:
        """See :meth:`QKDDevice.get_key_by_id`."""
        look_up = self.device.get_key_by_id
        return await self._threads.call(
            lambda left: look_up(key_id, peer, size=size, timeout=left), timeout
        )

    async def events(self, interval: float = 1.0) -> AsyncIterator[Event]:
        """See :meth:`QKDDevice.events`; waits without holding a thread."""
        watch = Watch(self.name)
        while True:
            for event in watch.note(await self._polled()):
                yield event
            if watch.ended:
                return
            await self._pause(interval)

    async def close(self) -> None:
        """See :meth:`QKDDevice.close`."""
        self._closed.set()
        await self._threads.close()

    async def __aenter__(self) -> AsyncQKDDevice:
        try:
            await self.init()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _polled(self) -> DeviceStatus | QKDError:
        try:
            return await self.status()
        except QKDError as error:
            return error

    async def _pause(self, interval: float) -> None:
        try:
            await asyncio.wait_for(self._closed.wait(), interval)
        except TimeoutError:
            return


class AsyncQKDSession:
    """:class:`~qkd_hal.device.QKDSession` with ``await``; same methods, same errors."""

    def __init__(self, session: QKDSession, threads: _Threads) -> None:
        self.session = session
        self._threads = threads

    @property
    def key_id(self) -> KeyId:
        """The name of the key; it travels to the peer."""
        return self.session.key_id

    @property
    def ref(self) -> KeyRef:
        """The key ID with the site that owns the key."""
        return self.session.ref

    @property
    def peer(self) -> str:
        """The site at the other end."""
        return self.session.peer

    @property
    def size(self) -> int | None:
        """Bytes in the whole sequence; ``None`` for a stream."""
        return self.session.size

    async def connect(self, timeout: float | None = None) -> Agreement:
        """See :meth:`QKDSession.connect`."""
        return await self._threads.call(self.session.connect, timeout)

    async def get_key(self, size: int | None = None, timeout: float | None = None) -> QuantumKey:
        """See :meth:`QKDSession.get_key`; bytes of a cancelled call are burned."""
        get_key = self.session.get_key
        return await self._threads.call(lambda left: get_key(size, left), timeout)

    async def derive(
        self, label: bytes, size: int = 32, timeout: float | None = None
    ) -> QuantumKey:
        """See :meth:`QKDSession.derive`; a cancelled call may use the label up."""
        derive = self.session.derive
        return await self._threads.call(lambda left: derive(label, size, left), timeout)

    async def close(self) -> None:
        """See :meth:`QKDSession.close`, which never waits."""
        self.session.close()

    async def __aenter__(self) -> AsyncQKDSession:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _burn_result(future: Future[T]) -> None:
    if not future.cancel():
        future.add_done_callback(_burn)


def _burn(future: Future[T]) -> None:
    result = None if future.cancelled() or future.exception() else future.result()
    if isinstance(result, QuantumKey):
        result.wipe()
    elif isinstance(result, QKDSession):
        result.close()


def _tell(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    try:
        loop.call_soon_threadsafe(callback)
    except RuntimeError:
        return  # the loop ended before the call did; nobody waits for this thread any more
