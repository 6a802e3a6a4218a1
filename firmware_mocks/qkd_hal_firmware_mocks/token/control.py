"""Lines of JSON that disturb a running token: ``{"do": "unplug"}``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Protocol

from qkd_hal_firmware_mocks.faults import FaultSpecError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from qkd_hal_firmware_mocks.faults import FaultPlan

__all__ = ["Control", "Socket"]


class Socket(Protocol):
    """Where the token is plugged in."""

    def unplug(self) -> None:
        """Take the token away; harmless if it is."""
        ...

    def plug(self) -> None:
        """Bring it back, where it does not come by itself; harmless if it is there."""
        ...


class Control:
    """Does what a line asks: ``unplug``, ``plug``; ``fault`` with a ``name`` that goes on until
    another or ``null``; ``once`` with the ``name`` of a fault for the next command, and
    ``NAME@OPERATION`` for the next of that operation. *known*: the names of faults."""

    def __init__(self, socket: Socket, plan: FaultPlan, known: Collection[str]) -> None:
        self._plan = plan
        self._known = known
        self._acts: dict[str, Callable[[Mapping[str, Any]], None]] = {
            "unplug": lambda _: socket.unplug(),
            "plug": lambda _: socket.plug(),
            "fault": self._begin,
            "once": lambda order: plan.once(self._checked(order["name"])),
        }

    def obey(self, line: bytes) -> str:
        """Return the answer, a line of JSON with ``done`` or ``error``."""
        try:
            order = json.loads(line)
            self._acts[order["do"]](order)
        except (ValueError, LookupError, TypeError, AttributeError, OSError) as error:
            return json.dumps({"error": f"{type(error).__name__}: {error}"})
        return json.dumps({"done": order["do"]})

    def _begin(self, order: Mapping[str, Any]) -> None:
        name = order["name"]
        self._plan.begin(None if name is None else self._checked(name))

    def _checked(self, name: str) -> str:
        if name.partition("@")[0] not in self._known:
            raise FaultSpecError(f"no such fault: {name}")
        return name
