"""Key IDs that cannot be guessed: a UUIDv8 that encrypts and authenticates a place.

A responder hands a key out before its peer has proved anything, so an ID that can be
predicted lets anyone drain it. Here the ID *is* the place (block, offset, length),
enciphered together with 42 zero bits under a secret that the two ends share: a forged ID
opens to non-zero bits and is refused without touching a store. Encode-then-encipher
(Bellare and Rogaway, ASIACRYPT 2000) over a 122-bit Feistel network of four rounds of keyed
BLAKE2s; the layout is UUIDv8 of RFC 9562, section 5.8.
"""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass

from qkd_hal.errors import KeyNotFoundError, UsageError
from qkd_hal.keys import KeyId

__all__ = ["MAX_BLOCK", "MAX_LENGTH", "MAX_OFFSET", "KeyIdSealer", "KeyPlace"]

MAX_BLOCK = (1 << 40) - 1
MAX_OFFSET = (1 << 24) - 1  # bytes into a block
MAX_LENGTH = 1 << 16  # bytes in a key

_HALF = 61
_HALF_MASK = (1 << _HALF) - 1
_CHECK_BITS = 42  # a guess is right once in 2^42
_ROUNDS = 4  # a strong pseudo-random permutation (Luby and Rackoff, SIAM J. Comput. 17, 1988)


@dataclass(frozen=True, slots=True)
class KeyPlace:
    """Where a key lies: *length* bytes at *offset* of block *block* of a directed space."""

    block: int
    offset: int
    length: int


class KeyIdSealer:
    """Turns places into key IDs and back, for one direction of one link.

    *secret*: 32 bytes that both ends hold. *direction*: a label such as ``b"alice>bob"``;
    IDs of one direction mean nothing in the other.
    """

    __slots__ = ("_rounds",)

    def __init__(self, secret: bytes, direction: bytes) -> None:
        if len(secret) != 32:
            raise UsageError(f"a key-ID secret has 32 bytes, not {len(secret)}")
        root = hashlib.blake2s(b"qkd-hal key-id v1\0" + direction, key=secret).digest()
        keys = [hashlib.blake2s(bytes([number]), key=root).digest() for number in range(_ROUNDS)]
        # Copying a state that has its key saves half of the compressions of every round.
        self._rounds = [hashlib.blake2s(key=key, digest_size=8) for key in keys]

    def seal(self, place: KeyPlace) -> KeyId:
        """Return the ID of *place*; the same place always has the same ID."""
        if not (
            0 <= place.block <= MAX_BLOCK
            and 0 <= place.offset <= MAX_OFFSET
            and 1 <= place.length <= MAX_LENGTH
        ):
            raise UsageError(f"{place} cannot be named by a key ID")
        packed = place.block << 40 | place.offset << 16 | place.length - 1
        return _to_uuid(self._encipher(packed << _CHECK_BITS))

    def open(self, key_id: KeyId) -> KeyPlace:
        """Return the place that *key_id* names.

        Raises:
            KeyNotFoundError: the ID was not made with this secret and direction.
        """
        value = self._decipher(_from_uuid(key_id))
        if value & ((1 << _CHECK_BITS) - 1):
            raise KeyNotFoundError("forged or foreign key ID", key_id=key_id)
        packed = value >> _CHECK_BITS
        return KeyPlace(packed >> 40, packed >> 16 & MAX_OFFSET, (packed & 0xFFFF) + 1)

    def _encipher(self, value: int) -> int:
        left, right = value >> _HALF, value & _HALF_MASK
        for keyed in self._rounds:
            left, right = right, left ^ _round(keyed, right)
        return left << _HALF | right

    def _decipher(self, value: int) -> int:
        left, right = value >> _HALF, value & _HALF_MASK
        for keyed in reversed(self._rounds):
            left, right = right ^ _round(keyed, left), left
        return left << _HALF | right


def _round(keyed: hashlib.blake2s, half: int) -> int:
    state = keyed.copy()
    state.update(half.to_bytes(8, "big"))
    return int.from_bytes(state.digest(), "big") & _HALF_MASK


def _to_uuid(value: int) -> KeyId:
    high, middle, low = value >> 74, value >> 62 & 0xFFF, value & ((1 << 62) - 1)
    return KeyId(uuid.UUID(int=high << 80 | 8 << 76 | middle << 64 | 2 << 62 | low))


def _from_uuid(key_id: KeyId) -> int:
    number = key_id.uuid.int
    if number >> 76 & 0xF != 8 or number >> 62 & 3 != 2:
        raise KeyNotFoundError("forged or foreign key ID", key_id=key_id)
    return number >> 80 << 74 | (number >> 64 & 0xFFF) << 62 | number & ((1 << 62) - 1)
