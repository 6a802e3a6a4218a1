"""What a box tells its host unasked (``docs/boxlink.md``, section 7.2)."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from qkd_hal_firmware_mocks.boxlink.cbor import encode

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["EventQueue"]

_ROOM = 16


class EventQueue:
    """Events that wait for a host; the oldest go when there is no room."""

    def __init__(self) -> None:
        self._waiting: deque[Mapping[str, Any]] = deque()
        self._lost = 0
        self._next = 0

    def put(self, event: Mapping[str, Any]) -> None:
        """Add an event."""
        self._waiting.append(event)
        if len(self._waiting) > _ROOM:
            self._waiting.popleft()
            self._lost += 1

    def take(self) -> Iterator[tuple[int, bytes]]:
        """Give number and body of each event, and that some were lost; empties the queue."""
        if self._lost:
            self._waiting.appendleft({"event": "lost", "count": self._lost})
            self._lost = 0
        while self._waiting:
            number, self._next = self._next, (self._next + 1) & 0xFFFF
            yield number, encode(dict(self._waiting.popleft()))
