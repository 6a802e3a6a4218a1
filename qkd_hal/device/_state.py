"""The one table of states: which call is legal when, and what to call instead.

The table is data. :class:`Machine` enforces it for every driver, and
:func:`state_table_markdown` draws it in ``docs/api.md``.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Generic, TypeVar

from qkd_hal.errors import (
    DeviceClosedError,
    DeviceLostError,
    KeyConsumedError,
    QKDError,
    StateError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DEVICE", "SESSION", "DeviceState", "Machine", "Row", "SessionState", "Table"]


class DeviceState(Enum):
    """Where a device is in its life."""

    NEW = "new"
    READY = "ready"
    FAILED = "failed"
    CLOSED = "closed"

    __hash__ = object.__hash__  # members are single; Enum's own, in Python, is on the hot path


class SessionState(Enum):
    """Where a session is in its life."""

    STARTED = "started"
    CONNECTED = "connected"
    READING = "reading"
    DERIVING = "deriving"
    BURNED = "burned"
    LOST = "lost"
    CLOSED = "closed"

    __hash__ = object.__hash__


S = TypeVar("S", bound=Enum)


@dataclass(frozen=True, slots=True)
class Row(Generic[S]):
    """One state: ``calls`` that are legal and ``events`` that may happen, each with the next
    state; any other call raises ``error``, which ends with ``cure``."""

    calls: Mapping[str, S]
    error: type[QKDError]
    cure: str
    events: Mapping[str, S] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Table(Generic[S]):
    """The states of one kind of object; ``first`` is where its life begins."""

    subject: str
    first: S
    rows: Mapping[S, Row[S]]


def _to(state: S, *calls: str) -> dict[str, S]:
    return dict.fromkeys(calls, state)


_D, _S = DeviceState, SessionState
_ANEW = "Start a new session with device.start()"

DEVICE = Table(
    "device",
    _D.NEW,
    {
        _D.NEW: Row(
            _to(_D.READY, "init") | _to(_D.CLOSED, "close"),
            StateError,
            "Call init() first, or use the device in a with block",
        ),
        _D.READY: Row(
            _to(_D.READY, "init", "info", "status", "events", "start", "get_key_by_id")
            | _to(_D.READY, "connect", "get_key", "derive")
            | _to(_D.CLOSED, "close"),
            StateError,
            "Call close() to end it",
            {"lost": _D.FAILED},
        ),
        _D.FAILED: Row(
            _to(_D.READY, "init") | _to(_D.FAILED, "info") | _to(_D.CLOSED, "close"),
            DeviceLostError,
            "Call init() to open the device again, then start a new session",
        ),
        _D.CLOSED: Row(
            _to(_D.CLOSED, "close"),
            DeviceClosedError,
            "Open the device anew with open_device()",
        ),
    },
)

_DEVICE_LOST = {"lost": _S.LOST}
_MAY_BURN = {"burned": _S.BURNED, "lost": _S.LOST}

SESSION = Table(
    "session",
    _S.STARTED,
    {
        _S.STARTED: Row(
            _to(_S.CONNECTED, "connect") | _to(_S.CLOSED, "close"),
            StateError,
            "Call connect() first",
            _MAY_BURN,
        ),
        _S.CONNECTED: Row(
            _to(_S.READING, "get_key") | _to(_S.DERIVING, "derive") | _to(_S.CLOSED, "close"),
            StateError,
            "connect() is done; call get_key() or derive()",
            _MAY_BURN,
        ),
        _S.READING: Row(
            _to(_S.READING, "get_key") | _to(_S.CLOSED, "close"),
            StateError,
            "This session hands out bytes: call get_key(), or start another one for derive()",
            _MAY_BURN,
        ),
        _S.DERIVING: Row(
            _to(_S.DERIVING, "derive") | _to(_S.CLOSED, "close"),
            StateError,
            "This session derives: call derive(), or start another one for get_key()",
            _MAY_BURN,
        ),
        _S.BURNED: Row(_to(_S.CLOSED, "close"), KeyConsumedError, _ANEW, _DEVICE_LOST),
        _S.LOST: Row(
            _to(_S.CLOSED, "close"),
            DeviceLostError,
            "Call init() on the device, then start a new session",
        ),
        _S.CLOSED: Row(_to(_S.CLOSED, "close"), StateError, _ANEW),
    },
)


class Machine(Generic[S]):
    """One walk through a :class:`Table`; safe from any thread."""

    def __init__(self, table: Table[S], *, device: str) -> None:
        self._table = table
        self._device = device
        self._mutex = threading.Lock()
        self.state = table.first

    def require(self, call: str) -> None:
        """Raise the error of the present state unless *call* is legal in it."""
        state = self.state
        row = self._table.rows[state]
        if call not in row.calls:
            what = f"{call}() is not possible: the {self._table.subject} is {state.value}"
            raise row.error(what, device=self._device, cure=row.cure)

    def advance(self, call: str) -> S:
        """Go where *call* leads, or raise as :meth:`require`; return the state before."""
        with self._mutex:
            self.require(call)
            before = self.state
            self.state = self._table.rows[before].calls[call]
            return before

    def happen(self, event: str) -> None:
        """Go where *event* leads from here; stay where it means nothing."""
        with self._mutex:
            self.state = self._table.rows[self.state].events.get(event, self.state)


def state_table_markdown() -> str:
    """Draw both tables as Markdown, as they stand in ``docs/api.md``."""
    return "\n".join([*_drawn(DEVICE), "", *_drawn(SESSION)])


def _drawn(table: Table[S]) -> list[str]:
    head = [
        f"| {table.subject} | legal calls | what may happen | any other call raises |",
        "| --- | --- | --- | --- |",
    ]
    return head + [_line(state, row) for state, row in table.rows.items()]


def _line(state: Enum, row: Row[S]) -> str:
    calls = ", ".join(_arrow(f"`{call}`", state, after) for call, after in row.calls.items())
    events = ", ".join(_arrow(event, state, after) for event, after in row.events.items())
    return f"| {state.name} | {calls} | {events} | `{row.error.__name__}`: {row.cure} |"


def _arrow(name: str, here: Enum, after: Enum) -> str:
    return name if after is here else f"{name} → {after.name}"
