"""What ``token://VID:PID/SERIAL`` opens: the token as a USB device, without any service."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qkd_hal.errors import ConfigurationError
from qkd_hal_drivers import _usb
from qkd_hal_drivers.usb_token.ccid import CcidLink
from qkd_hal_drivers.usb_token.driver import TokenDriver
from qkd_hal_drivers.usb_token.fill import TokenLoader
from qkd_hal_drivers.usb_token.manager import KeyTokenManager
from qkd_hal_drivers.usb_token.pin import Pin

if TYPE_CHECKING:
    from qkd_hal.device_url import DeviceURL
    from qkd_hal.sources import Deadline, KeyDriver
    from qkd_hal.tokens import OpenLoader, TokenManager

__all__ = ["driver", "loader", "manager"]


def driver(url: DeviceURL) -> KeyDriver:
    """Return the driver of the token at ``token://VID:PID/SERIAL?pin-source=FILE``.

    Raises:
        ConfigurationError: *url* is something else.
    """
    _link(url)
    return TokenDriver(lambda: _link(url), url.query.get("pin-source"))


def loader(url: DeviceURL, site: str, deadline: Deadline, pin: str | None) -> OpenLoader:
    """Return a loader for the token at *url*.

    Raises:
        QKDError: as :class:`TokenLoader`.
    """
    link = _link(url)
    given = Pin.from_source(url.query.get("pin-source"), pin, link.name)
    return TokenLoader(link, given, site, deadline)


def manager(url: DeviceURL) -> TokenManager:
    """Return the manager of the token at *url*.

    Raises:
        ConfigurationError: *url* is something else.
    """
    _link(url)
    return KeyTokenManager(lambda: _link(url), url.query.get("pin-source"))


def _link(url: DeviceURL) -> CcidLink:
    ids, serial_number = _usb.ids_of(url), url.path.strip("/")
    if "/" in serial_number or url.query.keys() - {"pin-source"}:
        raise ConfigurationError(
            f"{url} is no address of a key token",
            cure=f"Write {url.scheme}://VID:PID/SERIAL?pin-source=FILE",
        )
    return CcidLink(ids, serial_number, url.text.partition("?")[0])
