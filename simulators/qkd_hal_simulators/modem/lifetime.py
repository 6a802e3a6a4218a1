"""When a modem ends: a signal, or the end of the process that started it."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ending"]

_GRACE_SECONDS = 5.0  # between a parent's death and the end by force


@contextmanager
def ending(*, with_parent: bool) -> Iterator[threading.Event]:
    """Give an event that SIGINT, SIGTERM or, if asked, the end of standard input sets.

    A parent that holds the other end of the pipe takes this process along however it dies.
    """
    stop = threading.Event()
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda *_: stop.set()) for number in numbers]
    finished = threading.Event()
    if with_parent:
        threading.Thread(target=_watch_parent, args=(stop, finished), daemon=True).start()
    try:
        yield stop
    finally:
        finished.set()
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _watch_parent(stop: threading.Event, finished: threading.Event) -> None:
    while os.read(0, 4096):
        pass
    stop.set()
    if not finished.wait(_GRACE_SECONDS):
        os._exit(1)  # nobody is left to wait for a modem that hangs
