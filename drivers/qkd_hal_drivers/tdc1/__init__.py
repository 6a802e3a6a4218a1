"""S-Fifteen TDC1 time-stamp unit: ``tdc1:///dev/ttyACM0?rate_hz=1000000``.

A :class:`~qkd_hal.sources.DetectionSource`, no key device. What crosses its wire, and what the
URL may say, is in ``docs/instruments.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qkd_hal_drivers.tdc1._settings import Tdc1Settings
from qkd_hal_drivers.tdc1.tagger import Tdc1Source

if TYPE_CHECKING:
    from qkd_hal.registry import DeviceURL
    from qkd_hal.sources import Deadline

__all__ = ["Tdc1Settings", "Tdc1Source", "source"]


def source(url: DeviceURL, deadline: Deadline) -> Tdc1Source:
    """Connect to the unit at *url* and set it up; nothing is acquired yet.

    Raises:
        ConfigurationError: *url* does not describe a receiver.
        DeviceError: no TDC1 is there, or it cannot be used.
    """
    return Tdc1Source(Tdc1Settings.of(url), deadline)
