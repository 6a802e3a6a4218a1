"""Names of sites and relays, and provenance, as they stand on the wire."""

from __future__ import annotations

import re

from qkd_hal_firmware_mocks.token.apdu import Refusal, Status

__all__ = ["checked_name", "checked_provenance"]

_NAME = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_ORIGINS = (0, 1, 2)  # hardware, unknown, simulated


def checked_name(raw: bytes) -> str:
    """Return a site's name.

    Raises:
        Refusal: it is none.
    """
    if not _NAME.fullmatch(raw):
        raise Refusal(Status.WRONG_DATA)
    return raw.decode("ascii")


def checked_provenance(raw: bytes) -> bytes:
    """Return *raw* if it is an origin and a list of relays.

    Raises:
        Refusal: it is none.
    """
    if not raw or len(raw) > 255 or raw[0] not in _ORIGINS:
        raise Refusal(Status.WRONG_DATA)
    if raw[1:]:
        for name in raw[1:].split(b","):
            checked_name(name)
    return raw
