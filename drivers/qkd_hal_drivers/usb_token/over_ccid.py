"""What ``token://VID:PID/SERIAL`` opens: the token as a USB device, without any service."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qkd_hal.errors import ConfigurationError
from qkd_hal_drivers import _usb
from qkd_hal_drivers.usb_token.ccid import CcidLink
from qkd_hal_drivers.usb_token.opening import Opening

if TYPE_CHECKING:
    from qkd_hal.device_url import DeviceURL

__all__ = ["driver", "loader", "manager"]


def _link(url: DeviceURL) -> CcidLink:
    ids, serial_number = _usb.ids_of(url), url.path.strip("/")
    if "/" in serial_number or url.query.keys() - {"pin-source"}:
        raise ConfigurationError(
            f"{url} is no address of a key token",
            cure=f"Write {url.scheme}://VID:PID/SERIAL?pin-source=FILE",
        )
    return CcidLink(ids, serial_number, url.text.partition("?")[0])


_OPENING = Opening(_link)
driver, loader, manager = _OPENING.driver, _OPENING.loader, _OPENING.manager
