"""Finds PKCS#11 tokens in the modules that this machine is told of; logs in to none.

Listing slots needs the module loaded and initialised. No session is opened, so the keys of a
token, and where they come from, stay unknown.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from qkd_hal.config import configuration_paths, load_configuration
from qkd_hal.discovery import DiscoveredDevice
from qkd_hal.errors import QKDError
from qkd_hal.keys import Origin, Provenance
from qkd_hal.sources import Deadline
from qkd_hal_drivers.buses.obstacles import NONE
from qkd_hal_drivers.pkcs11_token._modules import (
    candidates,
    modules_of_environment,
    modules_of_p11_kit,
)
from qkd_hal_drivers.pkcs11_token.uri import TokenUri

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    import pkcs11

    from qkd_hal_drivers.pkcs11_token._library import Module

__all__ = ["discover"]

_UNKNOWN = Provenance(Origin.UNKNOWN)
_SECONDS = 2.0  # to wait for a module that another thread uses


def discover() -> Iterable[DiscoveredDevice]:
    """List the tokens in configured modules; a module that fails is an entry with its reason.

    A token that only p11-kit knows may be anything, and is listed as unknown.
    """
    ours = {path.resolve() for path in (*_configured_modules(), *modules_of_environment())}
    theirs = {path.resolve() for path in modules_of_p11_kit()} - ours
    for path in sorted(ours):
        yield from _tokens_in(path, known=True)
    for path in sorted(theirs):
        yield from _tokens_in(path, known=False)


def _configured_modules() -> Iterator[Path]:
    """The modules of the ``pkcs11:`` URLs in ``qkd-hal.toml``, where there is one."""
    if "QKD_HAL_CONFIG" not in os.environ and not any(p.is_file() for p in configuration_paths()):
        return
    for device in load_configuration().devices.values():
        if device.url.lower().startswith("pkcs11:"):
            yield from candidates(TokenUri.parse(device.url))


def _tokens_in(path: Path, *, known: bool) -> Iterator[DiscoveredDevice]:
    # Here, because loading the library takes longer than all else that discovery does.
    from qkd_hal_drivers.pkcs11_token._find import tokens_of
    from qkd_hal_drivers.pkcs11_token._library import load

    try:
        module = load(path)
        tokens = tokens_of(module, Deadline(_SECONDS), str(path))
    except QKDError as error:
        yield _failed(path, error, known=known)
        return
    yield from (_described(module, token, known=known) for token in tokens)


def _described(module: Module, token: pkcs11.Token, *, known: bool) -> DiscoveredDevice:
    from qkd_hal_drivers.pkcs11_token._find import serial_number, uri_of
    from qkd_hal_drivers.pkcs11_token._flags import obstacle

    hindrance = obstacle(token)
    serial = serial_number(token)
    return DiscoveredDevice(
        url=uri_of(module, token) if token.label else "",
        vendor=token.manufacturer_id,
        model=token.model,
        serial_number=serial,
        provenance=_UNKNOWN,
        usable=hindrance == NONE,
        reason=hindrance.reason,
        cure=hindrance.cure,
        change_token=f"{token.slot.slot_id}-{serial}",
        known=known,
    )


def _failed(path: Path, error: QKDError, *, known: bool) -> DiscoveredDevice:
    return DiscoveredDevice(
        url="",
        vendor="unknown",
        model=path.name,
        serial_number="",
        provenance=_UNKNOWN,
        usable=False,
        reason=error.what,
        cure=error.cure or "",
        known=known,
    )
