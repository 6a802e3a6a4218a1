"""Calls into a library that blocks, made by a thread that can be left behind.

PC/SC has no time-outs: a call returns when the card has answered, or never. The caller waits
in slices, so that its deadline, ``close()`` and Ctrl-C count; a call that is left behind ends
by itself once the service answers, and what it left is then cleaned up.
"""

from __future__ import annotations

import queue
import threading
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING, Final, TypeVar

from qkd_hal.errors import DeadlineError, DeviceClosedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from qkd_hal.sources import Deadline

__all__ = ["PatientThread"]

T = TypeVar("T")

_SLICE: Final = 0.05  # seconds that close() and Ctrl-C wait at most
_END_SECONDS: Final = 0.5  # for a thread that has nothing left to do


class PatientThread:
    """Runs calls one after another; *clean_up* runs in the thread as its last one."""

    def __init__(self, name: str, clean_up: Callable[[], None]) -> None:
        self._name = name
        self._closed = threading.Event()
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._clean_up = clean_up
        # A daemon: a call that never returns may not keep the process from ending.
        self._thread = threading.Thread(target=self._run, daemon=True, name="qkd-hal PC/SC")
        self._thread.start()

    def call(
        self, work: Callable[[], T], deadline: Deadline, undo: Callable[[], None] | None = None
    ) -> T:
        """Return what *work* returns, unless time or connection end before.

        *undo* runs behind a *work* that ended well when nobody waited for it any more.

        Raises:
            DeadlineError: *work* still runs, or never will.
            DeviceClosedError: `close` came meanwhile.
        """
        result: Future[T] = Future()
        self._calls.put(lambda: _settle(result, work))
        try:
            return self._awaited(result, deadline)
        except BaseException:  # time, `close`, Ctrl-C; after an error of *work* nothing is undone
            if not result.cancel() and undo is not None:
                self._calls.put(lambda: None if result.exception() else undo())
            raise

    def post(self, work: Callable[[], None]) -> None:
        """Have *work* done before any later call, and wait for nothing."""
        self._calls.put(work)

    def close(self) -> None:
        """Let the thread end after what it has to do; idempotent, wakes who waits."""
        if not self._closed.is_set():
            self._closed.set()
            self._calls.put(None)

    def join(self) -> None:
        """Wait until it has ended, unless it is stuck in a call."""
        self._thread.join(_END_SECONDS)

    def _awaited(self, result: Future[T], deadline: Deadline) -> T:
        while not result.done():
            if self._closed.is_set():
                raise DeviceClosedError("the token was closed", device=self._name)
            if deadline.expired:
                raise DeadlineError("the card does not answer", device=self._name)
            wait([result], deadline.remaining(_SLICE))
        return result.result()

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            call()
        self._clean_up()


def _settle(result: Future[T], work: Callable[[], T]) -> None:
    if not result.set_running_or_notify_cancel():
        return  # its caller's time was up before its turn came
    try:
        result.set_result(work())
    except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
        result.set_exception(error)
