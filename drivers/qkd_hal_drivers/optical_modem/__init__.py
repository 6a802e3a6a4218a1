"""BB84 optical modem: ``bb84+tcp://HOST:PORT?credential=FILE``.

The wire is written down in ``docs/modem-protocol.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qkd_hal_drivers.optical_modem.driver import OpticalModemDriver

if TYPE_CHECKING:
    from qkd_hal.registry import DeviceURL
    from qkd_hal.sources import KeyDriver

__all__ = ["OpticalModemDriver", "driver"]


def driver(url: DeviceURL) -> KeyDriver:
    """Return the driver of the modem at *url*; nothing is opened yet.

    Raises:
        ConfigurationError: *url* is not ``bb84+tcp://HOST:PORT?credential=FILE``.
    """
    return OpticalModemDriver(url)
