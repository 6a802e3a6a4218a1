"""How late things happen on a machine that others use, too."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

__all__ = ["Pulse"]

_BEAT = 0.05  # seconds
_MEMORY = 200  # beats: longer than any call


class Pulse:
    """A thread that wants to wake regularly, and notes how much later it did."""

    def __init__(self) -> None:
        self._late: deque[float] = deque([0.0], _MEMORY)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def lateness(self) -> float:
        """Return by how much the last beats were late together, in seconds."""
        return sum(tuple(self._late))

    def _run(self) -> None:
        while not self._stop.is_set():
            begin = time.monotonic()
            self._stop.wait(_BEAT)
            self._late.append(max(0.0, time.monotonic() - begin - _BEAT))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
