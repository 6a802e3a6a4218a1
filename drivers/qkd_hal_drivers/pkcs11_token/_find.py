"""From a URI to the one token that it fits."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pkcs11

from qkd_hal.errors import ConfigurationError, DeviceBusyError, DeviceNotFoundError, QKDError
from qkd_hal_drivers.pkcs11_token._errors import translated
from qkd_hal_drivers.pkcs11_token._library import load
from qkd_hal_drivers.pkcs11_token._modules import candidates
from qkd_hal_drivers.pkcs11_token._patience import patiently
from qkd_hal_drivers.pkcs11_token.uri import TokenUri

if TYPE_CHECKING:
    from collections.abc import Iterable

    from qkd_hal.sources import Deadline
    from qkd_hal_drivers.pkcs11_token._library import Module

__all__ = ["find_token", "serial_number", "tokens_of", "uri_of"]


def find_token(uri: TokenUri, deadline: Deadline) -> tuple[Module, pkcs11.Token]:
    """Return the token that *uri* names, and its module; opens no session.

    Raises:
        ConfigurationError: several fit, or no module can be loaded.
        DeviceNotFoundError: none fits; the message names those that are there.
    """
    # SoftHSM also shows a token without its label or flags while another process writes them.
    return patiently(lambda: _found(uri, deadline), DeviceNotFoundError)


def _found(uri: TokenUri, deadline: Deadline) -> tuple[Module, pkcs11.Token]:
    present, faults = _search(uri, deadline)
    fit = [(module, token) for module, token in present if _fits(uri, module, token)]
    if len(fit) == 1:
        return fit[0]
    if fit:
        cure = f"Write one of: {_listed(fit)}"
        raise ConfigurationError(f"{len(fit)} tokens fit {uri.text}", cure=cure)
    if not present and faults:
        raise faults[0]
    there = f"Present are: {_listed(present)}" if present else "Insert or initialise it"
    raise DeviceNotFoundError("no token fits this URI", device=uri.text, cure=there)


def tokens_of(module: Module, deadline: Deadline, device: str) -> list[pkcs11.Token]:
    """Return the initialised tokens, and those that are not, in *module*."""
    doing = "looking at its slots"
    module.acquire(doing, deadline, threading.Event(), device)
    try:
        # SoftHSM fails so while another process that logs in writes the token's flags.
        return patiently(module.tokens, pkcs11.GeneralError)
    except pkcs11.PKCS11Error as error:
        raise translated(error, doing, device) from None
    finally:
        module.release()


def uri_of(module: Module, token: pkcs11.Token) -> str:
    """Return the URI that names exactly *token*."""
    return TokenUri.of_token(
        token=token.label, serial=serial_number(token), module_path=module.path
    )


def serial_number(token: pkcs11.Token) -> str:
    """Return the serial number as text."""
    return token.serial.decode(errors="replace").strip("\0 ")


def _search(
    uri: TokenUri, deadline: Deadline
) -> tuple[list[tuple[Module, pkcs11.Token]], list[QKDError]]:
    present: list[tuple[Module, pkcs11.Token]] = []
    faults: list[QKDError] = []
    for path in candidates(uri):
        try:
            module = load(path)
            tokens = tokens_of(module, deadline, uri.text)
        except (ConfigurationError, DeviceBusyError) as error:
            faults.append(error)
            continue
        present += [(module, token) for token in tokens if _initialised(token)]
    return present, faults


def _initialised(token: pkcs11.Token) -> bool:
    return bool(token.flags & pkcs11.TokenFlag.TOKEN_INITIALIZED)


def _fits(uri: TokenUri, module: Module, token: pkcs11.Token) -> bool:
    known = _description(module, token)
    return all(_plain(name, known[name]) == _plain(name, v) for name, v in uri.matches.items())


def _description(module: Module, token: pkcs11.Token) -> dict[str, str]:
    library, slot = module.library, token.slot
    return {
        "library-manufacturer": library.manufacturer_id,
        "library-description": library.library_description,
        "library-version": ".".join(map(str, library.library_version)),
        "slot-manufacturer": slot.manufacturer_id,
        "slot-description": slot.slot_description,
        "slot-id": str(slot.slot_id),
        "token": token.label,
        "manufacturer": token.manufacturer_id,
        "model": token.model,
        "serial": serial_number(token),
    }


def _plain(name: str, value: str) -> str:
    """One spelling for numbers: ``2`` means version ``2.0``, ``07`` is slot ``7``."""
    if name == "slot-id":
        return str(int(value))
    if name == "library-version":
        major, _, minor = value.partition(".")
        return f"{int(major)}.{int(minor or 0)}"
    return value


def _listed(tokens: Iterable[tuple[Module, pkcs11.Token]]) -> str:
    return ", ".join(uri_of(module, token) for module, token in tokens)
