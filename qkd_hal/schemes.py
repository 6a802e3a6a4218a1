"""From a URL's scheme to what installed packages make of it: devices, detections, entropy, tokens.

A scheme opens as one kind of thing only. Who asks for another kind is told the right opener.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from qkd_hal import plugins
from qkd_hal.errors import ConfigurationError, QKDError

if TYPE_CHECKING:
    from collections.abc import Callable
    from importlib.metadata import EntryPoint

    from qkd_hal.device_url import DeviceURL

__all__ = [
    "DETECTION_SOURCES",
    "DRIVERS",
    "ENTROPY_SOURCES",
    "KEY_LOADERS",
    "TOKEN_MANAGERS",
    "known",
    "make",
    "require",
]

DRIVERS = "qkd_hal.drivers"
DETECTION_SOURCES = "qkd_hal.detection_sources"
ENTROPY_SOURCES = "qkd_hal.entropy_sources"
KEY_LOADERS = "qkd_hal.key_loaders"
TOKEN_MANAGERS = "qkd_hal.token_managers"  # noqa: S105 - no secret, a group

_KINDS = {
    DRIVERS: ("a key device", "open_device"),
    DETECTION_SOURCES: ("a detection source", "open_detection_source"),
    ENTROPY_SOURCES: ("an entropy source", "open_entropy_source"),
    KEY_LOADERS: ("a token to fill", "tokens.open_loader"),
    TOKEN_MANAGERS: ("a token that is managed here", "tokens.open_manager"),
}


def known(group: str) -> list[str]:
    """Return the URL schemes that installed packages offer in *group*; loads none of them."""
    return sorted({point.name for point in plugins.found(group)})


def require(group: str, url: DeviceURL) -> None:
    """Raise unless exactly one package offers the scheme of *url* in *group*; loads none.

    Raises:
        ConfigurationError: it is not so.
    """
    _entry_point(group, url.scheme)


def make(group: str, url: DeviceURL, *arguments: object) -> object:
    """Load what offers the scheme of *url* in *group*, and call it with *url* and *arguments*.

    Raises:
        ConfigurationError: nothing, or more than one package, offers the scheme in *group*;
            or what it offers is broken.
        MissingExtraError: it needs an extra; the message names it.
        QKDError: whatever it raises itself.
    """
    point = _entry_point(group, url.scheme)
    factory = cast("Callable[..., object]", plugins.load(point))
    try:
        return factory(url, *arguments)
    except QKDError:
        raise
    except Exception as error:  # noqa: BLE001 - a foreign factory may raise anything
        what = f"the driver of {url.scheme} failed with {type(error).__name__}"
        cure = f"Report it to the authors of {plugins.owner(point)}"
        raise ConfigurationError(what, device=url.text, cure=cure) from None


def _entry_point(group: str, scheme: str) -> EntryPoint:
    points = [point for point in plugins.found(group) if point.name == scheme]
    if not points:
        raise _unknown(group, scheme)
    if len(points) > 1:
        owners = " and ".join(plugins.owner(point) for point in points)
        what = f"{owners} both offer a driver for {scheme}:"
        raise ConfigurationError(what, cure="Uninstall all but one")
    return points[0]


def _unknown(group: str, scheme: str) -> ConfigurationError:
    for other, (kind, opener) in _KINDS.items():
        if other != group and scheme in known(other):
            what = f"{scheme}: is {kind}, not {_KINDS[group][0]}"
            return ConfigurationError(what, cure=f"Open it with qkd_hal.{opener}()")
    names = ", ".join(known(group)) or "none"
    return ConfigurationError(
        f"no driver for {scheme}:; known schemes are {names}",
        cure="Correct the URL, or install the package that offers its driver",
    )
