"""Closing from another thread ends what waits."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

from qkd_hal.errors import DeviceClosedError, QKDError
from qkd_hal.testing.conformance._base import Conformance
from qkd_hal.testing.conformance._ends import AT_ONCE, End

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Closing", "ended_within", "in_thread"]


class Closing(Conformance):
    """``close()`` may come from any thread, at any moment."""

    def test_close_ends_the_calls_of_other_threads(self, end: End) -> None:
        """Threads that keep calling end with DeviceClosedError, all of them, soon."""
        called = threading.Barrier(4)

        def keep_calling() -> None:
            end.device.status()
            called.wait(AT_ONCE * 10)
            while True:
                end.device.status()

        with in_thread(keep_calling, times=3) as calls:
            called.wait(AT_ONCE * 10)
            end.device.close()
            for call in calls:
                error = ended_within(AT_ONCE, call)
                assert isinstance(error, DeviceClosedError), f"close() ended a call with {error!r}"

    def test_sessions_end_with_their_device(self, end: End) -> None:
        """What was not handed out before close() never is."""
        with end.begin() as session:
            end.device.close()
            try:
                end.value(session)
            except QKDError:
                return
        raise AssertionError("a session gave its key after its device was closed")


@contextmanager
def in_thread(work: Callable[[], object], *, times: int = 1) -> Iterator[list[Future[object]]]:
    """Run *work* in threads of its own, which a hung driver may keep for ever."""
    executor = ThreadPoolExecutor(times)
    try:
        yield [executor.submit(work) for _ in range(times)]
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


def ended_within(seconds: float, call: Future[object]) -> BaseException | None:
    """Return what ended *call*; fail where nothing did in time."""
    try:
        return call.exception(seconds)
    except TimeoutError:
        raise AssertionError(f"a call still waits after {seconds} s") from None
