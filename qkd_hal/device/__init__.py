"""Any quantum key distribution device behind five calls.

A :class:`QKDDevice` holds a driver and owns everything that drivers have in common: the
state table, one hook at a time, deadlines, the order fetch → confirm → hand out, events.
"""

from __future__ import annotations

from qkd_hal.device._state import DeviceState, SessionState, state_table_markdown
from qkd_hal.device.device import QKDDevice
from qkd_hal.device.events import Event, EventKind
from qkd_hal.device.key_source import DeviceKeySource
from qkd_hal.device.session import QKDSession

__all__ = [
    "DeviceKeySource",
    "DeviceState",
    "Event",
    "EventKind",
    "QKDDevice",
    "QKDSession",
    "SessionState",
    "state_table_markdown",
]
