"""Keys of a session and the seal on its frames: ``docs/boxlink.md``, sections 5 and 6."""

from __future__ import annotations

import hashlib
import hmac
import struct
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from qkd_hal.errors import DeviceLostError, ProtocolError
from qkd_hal.keys import wipe

__all__ = ["SEAL_BYTES", "Opener", "Sealer", "SessionKeys"]

_COUNTER = struct.Struct(">Q")
_TAG_BYTES: Final = 16
_LAST_COUNTER: Final = (1 << 32) - 1  # AES-GCM with 96-bit nonces stays far inside its limits
SEAL_BYTES: Final = _COUNTER.size + _TAG_BYTES


@dataclass(frozen=True, slots=True)
class SessionKeys:
    """What both ends derive from the PSK and the two HELLOs."""

    host_proof: bytes = field(repr=False)
    box_proof: bytes = field(repr=False)
    host_key: bytes = field(repr=False)
    host_iv: bytes = field(repr=False)
    box_key: bytes = field(repr=False)
    box_iv: bytes = field(repr=False)

    @classmethod
    def derive(cls, psk: bytearray, hello_request: bytes, hello_response: bytes) -> SessionKeys:
        """Run suite 1, HKDF-SHA-256, over the bodies as they were sent."""
        parts = (hello_request, hello_response)
        framed = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        transcript = hashlib.sha256(b"boxlink 1 transcript\0" + framed).digest()
        prk = hmac.digest(transcript, psk, "sha256")  # HKDF-Extract, RFC 5869 section 2.2
        return cls(
            _expand(prk, b"host proof", 32),
            _expand(prk, b"box proof", 32),
            _expand(prk, b"host key", 32),
            _expand(prk, b"host iv", 4),
            _expand(prk, b"box key", 32),
            _expand(prk, b"box iv", 4),
        )


def _expand(prk: bytes, label: bytes, size: int) -> bytes:
    return HKDFExpand(hashes.SHA256(), length=size, info=b"boxlink 1 " + label).derive(prk)


class Sealer:
    """One direction's sending end: counts, encrypts, authenticates the header."""

    def __init__(self, key: bytes, iv: bytes) -> None:
        self._cipher = AESGCM(key)
        self._iv = iv
        self._counter = 0

    def seal(self, head: bytes, plain: bytes) -> bytes:
        """Return the sealed body of the frame with header *head*.

        Raises:
            DeviceLostError: the session has used up its counters.
        """
        if self._counter >= _LAST_COUNTER:
            raise DeviceLostError("the session is used up", cure="Call init() to open another")
        self._counter += 1
        counter = _COUNTER.pack(self._counter)
        return counter + self._cipher.encrypt(self._iv + counter, plain, head)


class Opener:
    """One direction's receiving end: refuses what is forged, replayed or overtaken."""

    def __init__(self, key: bytes, iv: bytes) -> None:
        self._cipher = AESGCM(key)
        self._iv = iv
        self._counter = 0

    def open(self, head: bytes, sealed: memoryview, out: bytearray) -> memoryview:
        """Put the plaintext into *out*, where the caller can overwrite it; return its part.

        Raises:
            ProtocolError: the frame is to be dropped.
        """
        size = len(sealed) - SEAL_BYTES
        if not 0 <= size <= len(out):
            raise ProtocolError("a sealed frame has no room for its seal, or is too long")
        counter = bytes(sealed[: _COUNTER.size])
        (number,) = _COUNTER.unpack(counter)
        if number <= self._counter:
            raise ProtocolError("a sealed frame came twice, or was overtaken")
        plain = memoryview(out)[:size]
        try:
            self._cipher.decrypt_into(self._iv + counter, sealed[_COUNTER.size :], head, plain)
        except InvalidTag:
            wipe(plain)  # one flipped bit on the line, and all others are a key's
            raise ProtocolError("a frame's seal is wrong") from None
        self._counter = number
        return plain
