"""The credential file that a modem writes for the applications of its own site."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from qkd_hal.errors import ConfigurationError
from qkd_hal.private_files import read_private

__all__ = ["ENVIRONMENT_VARIABLE", "Credential", "load_credential"]

ENVIRONMENT_VARIABLE = "QKD_HAL_MODEM_CREDENTIAL"
_MAX_BYTES = 4096  # three keys of 40 characters and their names
_KEY_CHARACTERS = 40  # a CURVE key in Z85
_NAMES = ("server_public", "client_public", "client_secret")


@dataclass(frozen=True, slots=True)
class Credential:
    """CURVE keys in Z85: the modem's public key, and the pair that it admits."""

    server_public: bytes
    client_public: bytes
    client_secret: bytes = field(repr=False)


def load_credential(path: str | None) -> Credential:
    """Read the credential at *path*, or where ``QKD_HAL_MODEM_CREDENTIAL`` points.

    Raises:
        ConfigurationError: no path is given, or the file is missing, open to other users or
            no credential.
        DevicePermissionError: this user may not read it.
    """
    name = path or os.environ.get(ENVIRONMENT_VARIABLE)
    if not name:
        raise ConfigurationError(
            "no credential for the optical modem",
            cure=f"Add ?credential=FILE to the URL or set {ENVIRONMENT_VARIABLE}; the modem"
            " writes client.curve into its --dir",
        )
    cure = "Name the client.curve in the modem's --dir, and start the modem first"
    raw = read_private(Path(name), "the modem credential", at_most=_MAX_BYTES, cure=cure)
    return _parse(raw, name)


def _parse(raw: bytearray, name: str) -> Credential:
    try:
        fields = json.loads(raw)
        keys = [str(fields[key]).encode("ascii") for key in _NAMES]
    except (ValueError, TypeError, KeyError):
        keys = []
    if len(raw) > _MAX_BYTES or [len(key) for key in keys] != [_KEY_CHARACTERS] * len(_NAMES):
        raise ConfigurationError(
            f"{name} is not a modem credential", cure="Name the client.curve in the modem's --dir"
        )
    return Credential(*keys)
