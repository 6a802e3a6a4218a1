"""What changed at a device: alarms, the link, loss. Made from two statuses, for every driver."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from qkd_hal.errors import DeadlineError, DeviceClosedError, DeviceLostError, QKDError
from qkd_hal.sources import Alarm, DeviceStatus

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Event", "EventKind", "Watch"]


class EventKind(Enum):
    """What happened."""

    ALARM_RAISED = "alarm-raised"
    ALARM_CLEARED = "alarm-cleared"
    LINK_UP = "link-up"
    LINK_DOWN = "link-down"
    DEVICE_LOST = "device-lost"  # the last event; init() opens the device again


@dataclass(frozen=True, slots=True)
class Event:
    """One change at *device*; ``alarm`` says which for the two alarm kinds."""

    kind: EventKind
    device: str
    alarm: Alarm | None = None
    status: DeviceStatus = field(default_factory=DeviceStatus, repr=False)


class Watch:
    """Turns what each poll of *device* gave into events; ``ended`` once there are no more."""

    def __init__(self, device: str) -> None:
        self.ended = False
        self._device = device
        self._before = DeviceStatus()

    def note(self, outcome: DeviceStatus | QKDError) -> Iterator[Event]:
        """Yield the events of one poll; raise the errors that are not events."""
        if isinstance(outcome, DeviceStatus):
            before, self._before = self._before, outcome
            yield from _changes(self._device, before, outcome)
        elif isinstance(outcome, DeviceLostError):
            self.ended = True
            yield Event(EventKind.DEVICE_LOST, self._device)
        elif isinstance(outcome, DeviceClosedError):
            self.ended = True
        elif not isinstance(outcome, DeadlineError):  # a busy device is no event
            raise outcome


def _changes(device: str, before: DeviceStatus, after: DeviceStatus) -> Iterator[Event]:
    if _link_down(before) != _link_down(after):
        kind = EventKind.LINK_DOWN if _link_down(after) else EventKind.LINK_UP
        yield Event(kind, device, status=after)
    for alarm in Alarm:
        if alarm is not Alarm.LINK_DOWN and (alarm in before.alarms) != (alarm in after.alarms):
            raised = alarm in after.alarms
            kind = EventKind.ALARM_RAISED if raised else EventKind.ALARM_CLEARED
            yield Event(kind, device, alarm, after)


def _link_down(status: DeviceStatus) -> bool:
    return status.link_up is False or Alarm.LINK_DOWN in status.alarms
