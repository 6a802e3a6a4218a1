"""A forked child can neither use the parent's device nor spoil it."""

from __future__ import annotations

import gc
import os
import signal
import warnings
from typing import TYPE_CHECKING, NoReturn

from qkd_hal.errors import KeyConsumedError, StateError
from qkd_hal.testing.conformance._base import Conformance
from qkd_hal.testing.conformance._ends import End

if TYPE_CHECKING:
    from collections.abc import Callable

    from qkd_hal.device import QKDSession

__all__ = ["Forking"]

_CHILD_SECONDS = 10
_GOT_NOTHING, _GOT_SOMETHING, _FAILED = 0, 1, 2


class Forking(Conformance):
    """Keys, sessions and the connection belong to the process that opened them."""

    def test_a_forked_child_gets_nothing(self, end: End) -> None:
        """Neither from the device nor from a session that was open."""
        with end.begin() as session:
            told = _in_child(lambda: _attempt(end, session))
            assert told == _GOT_NOTHING, "a forked child could use the device or its session"
            end.value(session)

    def test_a_forked_child_leaves_the_device_alone(self, end: End) -> None:
        """The child closes and drops everything; the parent goes on as if nothing had been."""
        with end.begin() as session:
            told = _in_child(lambda: _drop(end, session))
            assert told == _GOT_NOTHING, "a forked child cannot close the device in peace"
            end.value(session)
        end.device.status()
        end.give()


def _in_child(work: Callable[[], int]) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the process may have threads
        child = os.fork()
    if child == 0:
        _live(work)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _live(work: Callable[[], int]) -> NoReturn:
    told = _FAILED
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(_CHILD_SECONDS)  # a lock that a thread of the parent held stays locked here
        told = work()
    finally:
        os._exit(told)


def _attempt(end: End, session: QKDSession) -> int:
    for call in (end.device.status, end.device.start, session.get_key):
        try:
            call()
        except (StateError, KeyConsumedError):
            continue
        return _GOT_SOMETHING
    return _GOT_NOTHING


def _drop(end: End, session: QKDSession) -> int:
    session.close()
    end.device.close()
    del end.device._runner.driver  # noqa: SLF001 - the last reference, as if the child forgot it
    gc.collect()
    return _GOT_NOTHING
