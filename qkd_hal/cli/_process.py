"""What every ``qkd-hal`` process does to itself before it touches a key."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import threading
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

__all__ = [
    "EXIT_INTERRUPTED",
    "EXIT_TERMINATED",
    "die_with_parent",
    "harden",
    "orderly_stack",
    "stop_on_sigterm",
    "uninterrupted",
]

EXIT_INTERRUPTED = 128 + signal.SIGINT
EXIT_TERMINATED = 128 + signal.SIGTERM
_PR_SET_DUMPABLE = 4  # Linux, prctl(2)
_STOPPERS = (signal.SIGINT, signal.SIGTERM)


def harden() -> None:
    """Keep key bytes out of core dumps, out of other users' debuggers and files.

    On Linux the process also becomes non-dumpable, because ``core_pattern`` pipes ignore
    the limit on core size. Both are set before any key is read.
    """
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def stop_on_sigterm() -> None:
    """Make SIGTERM unwind the stack, so that ``with`` blocks close what they hold."""
    signal.signal(signal.SIGTERM, _exit_terminated)


def _exit_terminated(_number: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(EXIT_TERMINATED)


def die_with_parent() -> None:
    """Stop this process in good order once its standard input closes.

    A parent that dies, by whatever signal, closes the pipe; nothing else survives SIGKILL
    of the parent on every POSIX system.
    """
    threading.Thread(target=_await_end_of_input, name="die-with-parent", daemon=True).start()


def _await_end_of_input() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Put Ctrl-C and SIGTERM off until the block ends; for steps that must not be halved.

    Between a process that was just started and the line that registers its end, an
    exception would leave it behind. Main thread only. Signals stay unblocked in children.
    """
    pending: list[int] = []
    before = {
        number: signal.signal(number, lambda got, _frame: pending.append(got))
        for number in _STOPPERS
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if pending:
            signal.raise_signal(pending[0])


@contextmanager
def orderly_stack() -> Iterator[ExitStack]:
    """Give a stack whose end a second, impatient Ctrl-C cannot cut short. Main thread only."""
    stack = ExitStack()
    try:
        yield stack
    finally:
        with uninterrupted():
            stack.close()
