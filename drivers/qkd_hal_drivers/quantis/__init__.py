"""ID Quantique Quantis USB, a quantum random generator: ``quantis:`` or ``quantis://VID:PID/SERIAL``.

An :class:`~qkd_hal.sources.EntropySource`, no key device. What crosses its wire is in
``docs/instruments.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qkd_hal.errors import ConfigurationError
from qkd_hal_drivers._usb import ids_of
from qkd_hal_drivers.quantis.generator import QuantisSource

if TYPE_CHECKING:
    from qkd_hal.device_url import DeviceURL
    from qkd_hal.sources import Deadline

__all__ = ["QUANTIS_IDS", "QuantisSource", "source"]

QUANTIS_IDS = (0x0ABA, 0x0102)


def source(url: DeviceURL, deadline: Deadline) -> QuantisSource:
    """Connect to the generator at *url* and test it.

    Raises:
        ConfigurationError: *url* names no USB device, or several fit.
        DeviceError: no such generator is there, or it cannot be used, or is broken.
    """
    if url.query or (not url.authority and url.path):
        raise ConfigurationError(
            f"{url} names no Quantis", cure="Write quantis: or quantis://0ABA:0102/SERIAL"
        )
    ids = ids_of(url) if url.authority else QUANTIS_IDS
    return QuantisSource(ids, url.path.strip("/"), deadline, name=url.text)
