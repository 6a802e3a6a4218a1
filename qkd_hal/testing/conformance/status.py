"""How a device says that it fares."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from qkd_hal.sources import Alarm
from qkd_hal.testing.conformance._base import Conformance

if TYPE_CHECKING:
    from qkd_hal.device import QKDDevice
    from qkd_hal.sources import DeviceStatus

__all__ = ["Status"]

_COUNTS = ("secret_key_rate_bps", "stored_keys", "stored_bytes")


class Status(Conformance):
    """A status can be true, and can be printed."""

    def test_reports_plausible_figures(self, devices: list[QKDDevice]) -> None:
        """An error rate is between 0 and 1, nothing is negative, nothing is endless."""
        for status in _statuses(devices):
            assert status.qber is None or 0 <= status.qber <= 1, f"a QBER of {status.qber}"
            for field in _COUNTS:
                count = getattr(status, field)
                fine = count is None or (math.isfinite(count) and count >= 0)
                assert fine, f"{field} is {count}"

    def test_reports_known_alarms_and_plain_details(self, devices: list[QKDDevice]) -> None:
        """Alarms are of our kinds; a detail is a number or a line of text."""
        for status in _statuses(devices):
            assert all(isinstance(alarm, Alarm) for alarm in status.alarms), "an unknown alarm"
            for name, value in status.details.items():
                plain = isinstance(value, str | int | float) and str(value).isprintable()
                assert plain, f"the detail {name!a:.100} is no plain value"


def _statuses(devices: list[QKDDevice]) -> list[DeviceStatus]:
    return [device.status() for device in devices]
