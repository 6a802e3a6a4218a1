"""What ``token+pcsc:///READER`` opens: the token as a card of the PC/SC service."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qkd_hal.errors import ConfigurationError
from qkd_hal_drivers.usb_token.driver import TokenDriver
from qkd_hal_drivers.usb_token.fill import TokenLoader
from qkd_hal_drivers.usb_token.manager import KeyTokenManager
from qkd_hal_drivers.usb_token.pcsc import PcscLink
from qkd_hal_drivers.usb_token.pin import Pin

if TYPE_CHECKING:
    from qkd_hal.device_url import DeviceURL
    from qkd_hal.sources import Deadline, KeyDriver
    from qkd_hal.tokens import OpenLoader, TokenManager

__all__ = ["driver", "loader", "manager"]


def driver(url: DeviceURL) -> KeyDriver:
    """Return the driver of the token at ``token+pcsc:///READER?pin-source=FILE``.

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


def _link(url: DeviceURL) -> PcscLink:
    if url.authority or url.query.keys() - {"pin-source"}:
        raise ConfigurationError(
            f"{url} is no address of a card reader",
            cure=f"Write {url.scheme}:///READER%20NAME?pin-source=FILE; see: qkd-hal devices",
        )
    return PcscLink(url.path.removeprefix("/"), url.text.partition("?")[0])
