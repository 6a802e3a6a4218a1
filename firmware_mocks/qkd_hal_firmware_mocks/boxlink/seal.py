"""Keys of a session and sealed frames (``docs/boxlink.md``, sections 5 and 6)."""

from __future__ import annotations

import hashlib
import hmac
import struct
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from qkd_hal_firmware_mocks.boxlink.frame import SEALED, finish, pack_header

if TYPE_CHECKING:
    from qkd_hal_firmware_mocks.boxlink.frame import Frame

__all__ = ["SEAL_BYTES", "Secrets", "Session", "SessionOverError"]

SEAL_BYTES = 24  # counter and tag
_COUNTER = struct.Struct(">Q")
_LAST_COUNTER = (1 << 32) - 1


class SessionOverError(Exception):
    """The session has used up its counters."""


class Secrets:
    """What both ends derive from the PSK and the two HELLO bodies."""

    def __init__(self, psk: bytes, hello_request: bytes, hello_response: bytes) -> None:
        text = b"boxlink 1 transcript\0"
        for part in (hello_request, hello_response):
            text += struct.pack(">I", len(part)) + part
        self._prk = hmac.digest(hashlib.sha256(text).digest(), psk, "sha256")
        self.host_proof = self._expand("host proof")
        self.box_proof = self._expand("box proof")

    def session(self) -> Session:
        """Return a new session under these secrets."""
        host = (self._expand("host key"), self._expand("host iv")[:4])
        return Session(*host, self._expand("box key"), self._expand("box iv")[:4])

    def _expand(self, label: str) -> bytes:
        # HKDF-Expand of one block, RFC 5869: shorter outputs are its first bytes.
        return hmac.digest(self._prk, b"boxlink 1 " + label.encode() + b"\1", "sha256")


class Session:
    """Opens what the host sealed, and seals for it."""

    def __init__(self, host_key: bytes, host_iv: bytes, box_key: bytes, box_iv: bytes) -> None:
        self._host, self._host_iv = AESGCM(host_key), host_iv
        self._box, self._box_iv = AESGCM(box_key), box_iv
        self._accepted = 0
        self._sent = 0

    @property
    def used(self) -> bool:
        """Whether a sealed frame of the host was accepted."""
        return self._accepted > 0

    def unseal(self, frame: Frame) -> bytes | None:
        """Return a sealed frame's plaintext; ``None`` for a replay.

        Raises:
            InvalidTag: not sealed by this session's host.
        """
        if len(frame.body) < SEAL_BYTES:
            raise InvalidTag
        counter = frame.body[:8]
        plain = self._host.decrypt(self._host_iv + counter, frame.body[8:], frame.header)
        (number,) = _COUNTER.unpack(counter)
        if number <= self._accepted:
            return None
        self._accepted = number
        return plain

    def seal(self, kind: int, sequence: int, operation: int, plain: bytes) -> bytes:
        """Return a whole sealed frame.

        Raises:
            SessionOverError: no counter is left.
        """
        if self._sent >= _LAST_COUNTER:
            raise SessionOverError
        self._sent += 1
        header, counter = pack_header(kind, SEALED, sequence, operation), _COUNTER.pack(self._sent)
        sealed = self._box.encrypt(self._box_iv + counter, plain, header)
        return finish(header, counter + sealed)
