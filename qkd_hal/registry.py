"""From a URL or a configured name to a device: scheme → entry point → driver.

Importing this loads no driver; opening a scheme loads that one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from qkd_hal import schemes
from qkd_hal.config import load_configuration
from qkd_hal.device import QKDDevice
from qkd_hal.device_url import DeviceURL

if TYPE_CHECKING:
    import os

    from qkd_hal.config import Configuration
    from qkd_hal.sources import KeyDriver

__all__ = ["DeviceURL", "known_schemes", "open_device"]

_DEFAULT_TIMEOUT = 10.0  # seconds


def open_device(
    url_or_name: str,
    *,
    config: Configuration | None = None,
    timeout: float | None = None,
    record: str | os.PathLike[str] | None = None,
) -> QKDDevice:
    """Return the device behind a URL, or behind a name in ``qkd-hal.toml``.

    Nothing is connected yet: ``with`` or ``init()`` does that. *timeout*: seconds of a call
    that names none; by default the configured one, else 10. *record*: a new private file for
    what passes between here and the driver, without keys (``docs/recording.md``).

    Raises:
        ConfigurationError: a malformed URL, an unknown scheme or an unknown name; or the file
            to record to exists.
        MissingExtraError: the scheme's driver needs an extra; the message names it.
    """
    if ":" in url_or_name:
        url = DeviceURL.parse(url_or_name)
        seconds = _DEFAULT_TIMEOUT if timeout is None else timeout
        return QKDDevice(_driver(url, record), name=url_or_name, timeout=seconds)
    entry = (config or load_configuration()).device(url_or_name)
    seconds = entry.timeout if timeout is None else timeout
    driver = _driver(DeviceURL.parse(entry.url), record)
    return QKDDevice(driver, name=url_or_name, default_peer=entry.peer, timeout=seconds)


def known_schemes() -> list[str]:
    """Return the URL schemes that installed packages offer; loads no driver."""
    return schemes.known(schemes.DRIVERS)


def _driver(url: DeviceURL, record: str | os.PathLike[str] | None) -> KeyDriver:
    driver = cast("KeyDriver", schemes.make(schemes.DRIVERS, url))
    if record is None:
        return driver
    from qkd_hal.recording import recorded

    return recorded(driver, record, url)
