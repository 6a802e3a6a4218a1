"""Derivation from a session's whole key, the same in software and inside a token."""

from __future__ import annotations

from qkd_hal.errors import UsageError

__all__ = ["check_derivation", "hkdf_expand"]

MIN_KEY = 32  # bytes: HKDF-Expand wants a key of at least one SHA-256 output (RFC 5869, 2.3)
MAX_OUTPUT = 255 * 32  # bytes: the block counter has one octet (RFC 5869, 2.3)


def check_derivation(key_size: int | None, output_size: int) -> None:
    """Raise :class:`UsageError` unless HKDF-Expand-SHA256 may be run with these sizes."""
    if key_size is None or key_size < MIN_KEY:
        have = "a stream" if key_size is None else f"{key_size} bytes"
        what = f"derive() needs a session of at least {MIN_KEY} bytes; this one is {have}"
        raise UsageError(what, cure=f"Call start(size={MIN_KEY})")
    if not 1 <= output_size <= MAX_OUTPUT:
        raise UsageError(f"derive() gives 1 to {MAX_OUTPUT} bytes, not {output_size}")


def hkdf_expand(key: memoryview, label: bytes, size: int) -> bytearray:
    """Return *size* bytes of HKDF-Expand-SHA256(*key*, *label*), RFC 5869 section 2.3."""
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

    out = bytearray(size)
    HKDFExpand(SHA256(), length=size, info=label).derive_into(key, out)
    return out
