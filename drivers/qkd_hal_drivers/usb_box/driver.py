"""The driver of a box on USB, from its URL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qkd_hal.errors import ConfigurationError
from qkd_hal_drivers import _usb
from qkd_hal_drivers.boxlink.driver import BoxDriver
from qkd_hal_drivers.usb_box.transport import UsbTransport

if TYPE_CHECKING:
    from qkd_hal.device_url import DeviceURL
    from qkd_hal.sources import KeyDriver

__all__ = ["driver"]


def driver(url: DeviceURL) -> KeyDriver:
    """Return the driver of the box at ``usb://VID:PID/SERIAL?credential=FILE``.

    Raises:
        ConfigurationError: *url* is something else.
    """
    ids, serial_number = _usb.ids_of(url), url.path.strip("/")
    if "/" in serial_number or url.query.keys() - {"credential"}:
        raise ConfigurationError(
            f"{url} is no address of a USB box",
            cure=f"Write {url.scheme}://VID:PID/SERIAL?credential=FILE",
        )
    # The query stays out of messages: they name the device, not where its credential lies.
    name = url.text.partition("?")[0]
    return BoxDriver(lambda: UsbTransport(ids, serial_number, name), url.query.get("credential"))
