"""Verification: do the two corrected keys agree?

The hash is Poly1305's polynomial (RFC 8439, 2.5) with a public random ``r`` and without a
mask: two different keys of L bytes collide with probability at most
8 * ceil(L / 16) / 2^106, far below any eps_cor in use. All 128 bits are sent in clear and
booked as leaked.
"""

from __future__ import annotations

import hmac
import math
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.poly1305 import Poly1305

from qkd_hal.distillation.bits import pack_bits
from qkd_hal.errors import VerificationError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["VERIFICATION_BITS", "collision_bound", "excess_leak", "key_hash", "verify"]

VERIFICATION_BITS = 128


def key_hash(key: NDArray[np.uint8], seed: bytes) -> bytes:
    """Return the 16-byte universal hash of a bit array; *seed*: 16 public random bytes."""
    return Poly1305.generate_tag(seed + bytes(16), pack_bits(key))


def verify(found: bytes, expected: bytes) -> None:
    """Compare the hashes of both ends in constant time.

    Raises:
        VerificationError: the keys differ.
    """
    if not hmac.compare_digest(found, expected):
        raise VerificationError(
            "the corrected keys still differ",
            cure="The block is dropped; if it happens often, somebody changes parities",
        )


def collision_bound(message_bytes: int) -> float:
    """Return the chance that two different messages of this length hash alike."""
    return 8 * math.ceil(message_bytes / 16) / 2**106


def excess_leak(eps_cor: float) -> int:
    """Return the hash bits beyond the log2(2/eps_cor) that the key-length formulae book."""
    return max(0, VERIFICATION_BITS - math.floor(math.log2(2 / eps_cor)))
