"""HKDF-Expand, RFC 5869 section 2.3, over a MAC that somebody else computes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["expand"]


def expand(mac: Callable[[bytes], bytes], info: bytes, size: int) -> bytearray:
    """Return *size* bytes, at most 255 blocks; *mac* is HMAC under the pseudorandom key."""
    out = bytearray()
    block = b""
    counter = 0
    while len(out) < size:
        counter += 1
        block = mac(block + info + bytes([counter]))
        out += block
    del out[size:]
    return out
