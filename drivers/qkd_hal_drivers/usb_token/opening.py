"""What a URL of a key token opens, however the card behind it is reached."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qkd_hal_drivers.usb_token.driver import TokenDriver
from qkd_hal_drivers.usb_token.fill import TokenLoader
from qkd_hal_drivers.usb_token.manager import KeyTokenManager
from qkd_hal_drivers.usb_token.pin import Pin

if TYPE_CHECKING:
    from collections.abc import Callable

    from qkd_hal.device_url import DeviceURL
    from qkd_hal.sources import Deadline, KeyDriver
    from qkd_hal.tokens import OpenLoader, TokenManager
    from qkd_hal_drivers.usb_token.card import CardLink

__all__ = ["Opening"]


@dataclass(frozen=True, slots=True)
class Opening:
    """The entry points of one scheme. *link* makes an unopened link from a URL, or refuses it
    with :class:`~qkd_hal.errors.ConfigurationError`, and so do all of these."""

    link: Callable[[DeviceURL], CardLink]

    def driver(self, url: DeviceURL) -> KeyDriver:
        """Return the driver of the token at *url*."""
        self.link(url)
        return TokenDriver(lambda: self.link(url), url.query.get("pin-source"))

    def loader(self, url: DeviceURL, site: str, deadline: Deadline, pin: str | None) -> OpenLoader:
        """Return a loader for the token at *url*; raises what :class:`TokenLoader` does."""
        link = self.link(url)
        given = Pin.from_source(url.query.get("pin-source"), pin, link.name)
        return TokenLoader(link, given, site, deadline)

    def manager(self, url: DeviceURL) -> TokenManager:
        """Return the manager of the token at *url*."""
        self.link(url)
        return KeyTokenManager(lambda: self.link(url), url.query.get("pin-source"))
