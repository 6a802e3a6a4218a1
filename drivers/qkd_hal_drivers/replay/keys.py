"""Keys that stand in for those of a recording: the same at both ends, known to everybody."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

if TYPE_CHECKING:
    from qkd_hal.keys import KeyId

__all__ = ["derived_stand_in", "stand_in"]


def stand_in(key_id: KeyId, begin: int, size: int) -> bytes:
    """Return *size* bytes from position *begin* of the stand-in under *key_id*."""
    return hashlib.shake_256(b"qkd-hal replay" + bytes(key_id)).digest(begin + size)[begin:]


def derived_stand_in(key_id: KeyId, key_size: int, label: bytes, size: int) -> bytearray:
    """Return what HKDF-Expand-SHA256 (RFC 5869, 2.3) makes of the stand-in of *key_size* bytes."""
    key = stand_in(key_id, 0, key_size)
    return bytearray(HKDFExpand(SHA256(), length=size, info=label).derive(key))
