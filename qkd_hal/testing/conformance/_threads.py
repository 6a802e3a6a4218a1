"""Calls in threads that a hung driver may keep for ever without keeping the run."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ended_within", "in_thread"]


def in_thread(work: Callable[[], object]) -> Future[object]:
    """Run *work* in a thread of its own, which does not hold up the end of the process."""
    call: Future[object] = Future()
    threading.Thread(target=_run, args=(work, call), daemon=True).start()
    return call


def ended_within(seconds: float, call: Future[object]) -> BaseException | None:
    """Return what ended *call*; fail where nothing did in time."""
    try:
        return call.exception(seconds)
    except TimeoutError:
        raise AssertionError(f"a call still waits after {seconds} s") from None


def _run(work: Callable[[], object], call: Future[object]) -> None:
    try:
        call.set_result(work())
    except BaseException as error:  # noqa: BLE001 - handed to whoever waits for the call
        call.set_exception(error)
