"""Lines of JSON that disturb a running pair: ``{"do": "unplug", "end": "alice"}``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from qkd_hal_firmware_mocks.faults import FaultSpecError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from qkd_hal_firmware_mocks.boxlink.server import BoxServer

__all__ = ["Control"]

_KEY_BYTES = 32


class Control:
    """Does what a line asks, to the box that its ``end`` names.

    ``unplug``, ``plug``, ``power-cycle``; ``fault`` with a ``name`` that goes on until another
    or ``null``; ``once`` with the ``name`` of a fault for the next request; ``add-keys`` with
    a ``count`` of 32-byte keys; ``drain``; ``link`` with ``up``.
    """

    def __init__(self, servers: Mapping[str, BoxServer]) -> None:
        self._servers = servers
        self._acts: dict[str, Callable[[BoxServer, Any], None]] = {
            "unplug": lambda server, _: server.outlet.unplug(),
            "plug": lambda server, _: server.outlet.plug(),
            "power-cycle": lambda server, _: server.box.power_cycle(),
            "fault": _begin,
            "once": lambda server, order: server.plan.once(_known(server, order["name"])),
            "add-keys": _add_keys,
            "drain": lambda server, _: server.box.set_stored(0),
            "link": lambda server, order: server.box.set_link(up=bool(order["up"])),
        }

    def obey(self, line: bytes) -> str:
        """Return the answer, a line of JSON with ``done`` or ``error``."""
        try:
            order = json.loads(line)
            self._acts[order["do"]](self._servers[order["end"]], order)
        except (ValueError, LookupError, TypeError, OSError) as error:
            return json.dumps({"error": f"{type(error).__name__}: {error}"})
        return json.dumps({"done": order["do"]})


def _begin(server: BoxServer, order: Mapping[str, Any]) -> None:
    name = order["name"]
    server.plan.begin(None if name is None else _known(server, name))


def _known(server: BoxServer, name: str) -> str:
    if name not in server.faults:
        raise FaultSpecError(f"no such fault: {name}")
    return name


def _add_keys(server: BoxServer, order: Mapping[str, Any]) -> None:
    server.box.set_stored(server.box.keys.supply.stored + int(order["count"]) * _KEY_BYTES)
