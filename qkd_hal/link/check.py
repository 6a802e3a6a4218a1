"""Proof that both ends stored the same bytes, which tells an eavesdropper nothing.

Poly1305 (RFC 8439, section 2.5) under a key that is used once is a Wegman-Carter tag: its
second half is a one-time pad, so the tag hides the message perfectly, and two different
blocks have the same tag with probability below 2^-80 for blocks up to 16 MiB. The key is the
last 32 bytes of the block itself, which are therefore never served.
"""

from __future__ import annotations

import hmac

from cryptography.hazmat.primitives.poly1305 import Poly1305

from qkd_hal.link.records import CHECK_SIZE

__all__ = ["TAG_SIZE", "block_tag", "same_block"]

TAG_SIZE = 16


def block_tag(number: int, material: bytearray | memoryview | bytes) -> bytes:
    """Return the tag of block *number*; *material* is the whole block with its check key."""
    with memoryview(material) as view, view[:-CHECK_SIZE] as body, view[-CHECK_SIZE:] as key:
        poly = Poly1305(bytes(key))
        poly.update(number.to_bytes(8, "big") + len(material).to_bytes(8, "big"))
        poly.update(body)
        return poly.finalize()


def same_block(number: int, material: bytearray | memoryview | bytes, tag: bytes) -> bool:
    """Tell, in constant time, whether *material* is the block that *tag* was made from."""
    return hmac.compare_digest(block_tag(number, material), tag)
