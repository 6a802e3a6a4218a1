"""Reads one canonical CBOR map (RFC 7049, section 3.9) with text keys, and nothing else."""

from __future__ import annotations

import cbor2

from qkd_hal.errors import ProtocolError

__all__ = ["decode_map"]


def decode_map(raw: bytes, what: str) -> dict[str, object]:
    """Return the map that *raw* is; *what* names it in the error.

    Raises:
        ProtocolError: *raw* is anything else, or more than that.
    """
    try:
        value = cbor2.loads(raw)
        canonical = cbor2.dumps(value, canonical=True) == raw
    except Exception:  # noqa: BLE001 - cbor2 documents no closed set; one exception leaves here
        canonical = False
    if not canonical or type(value) is not dict or not all(type(name) is str for name in value):
        raise ProtocolError(f"{what} is not one canonical CBOR map")
    return value
