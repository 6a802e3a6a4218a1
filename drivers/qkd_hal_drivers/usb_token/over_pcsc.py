"""What ``token+pcsc:///READER`` opens: the token as a card of the PC/SC service."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qkd_hal.errors import ConfigurationError
from qkd_hal_drivers.usb_token.opening import Opening
from qkd_hal_drivers.usb_token.pcsc import PcscLink

if TYPE_CHECKING:
    from qkd_hal.device_url import DeviceURL

__all__ = ["driver", "loader", "manager"]


def _link(url: DeviceURL) -> PcscLink:
    if url.authority or url.query.keys() - {"pin-source"}:
        raise ConfigurationError(
            f"{url} is no address of a card reader",
            cure=f"Write {url.scheme}:///READER%20NAME?pin-source=FILE; see: qkd-hal devices",
        )
    return PcscLink(url.path.removeprefix("/"), url.text.partition("?")[0])


_OPENING = Opening(_link)
driver, loader, manager = _OPENING.driver, _OPENING.loader, _OPENING.manager
