"""A secure channel between two sites over bytes that anybody may read, drop or forge.

Both sites hold one link secret. Three messages with fresh nonces prove it and give one key
per direction, bound to both site names, both roles and the whole handshake::

    connector  →  "qkd-hal link 1", its site, the peer it wants, nonce
    listener   →  its site, nonce, HMAC(listener key, handshake so far)
    connector  →  HMAC(connector key, handshake so far)

Keys: HKDF-SHA256 (RFC 5869), salted with both nonces. Then every message is one
ChaCha20-Poly1305 record (RFC 8439) whose nonce is its number, so that a record lost,
repeated, reordered or reflected does not open. Any bad record ends the channel; a new one
needs new nonces. Only symmetric cryptography, so a quantum computer gains nothing here.
No key material of a pool ever crosses it.
"""

from __future__ import annotations

import hmac
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import cbor2
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from qkd_hal.errors import ProtocolError, UsageError
from qkd_hal.link.messages import MAX_MESSAGE

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MAX_FRAME", "NONCE_SIZE", "SECRET_MIN", "SecureChannel", "key_id_secret"]

NONCE_SIZE = 32
SECRET_MIN = 32  # bytes of a link secret
MAX_FRAME = MAX_MESSAGE + 16  # a record is its message and a tag

_VERSION = "qkd-hal link 1"


def key_id_secret(secret: bytes) -> bytes:
    """Return the 32 bytes that seal key IDs, made from the link secret."""
    return _expand(secret, b"", b"qkd-hal link 1 key ids", 32)


def _expand(secret: bytes, salt: bytes, info: bytes, size: int) -> bytes:
    return HKDF(SHA256(), size, salt, info).derive(secret)


class SecureChannel:
    """One end of the channel between *site* and *peer*; does no I/O.

    *nonce*: 32 fresh random bytes. The end with *connects* speaks first: its
    :meth:`opening` message goes out, and each frame from the peer goes to :meth:`receive`.
    After the handshake, sending and receiving may be done by two threads.
    """

    def __init__(
        self, secret: bytes, *, site: str, peer: str, connects: bool, nonce: bytes
    ) -> None:
        if len(secret) < SECRET_MIN or len(nonce) != NONCE_SIZE:
            raise UsageError(f"a link needs a secret of {SECRET_MIN} bytes and a fresh nonce")
        self._secret = secret
        self._site, self._peer, self._connects = site, peer, connects
        self._nonce = nonce
        self._transcript = sha256()
        self._step: Callable[[bytes], bytes | None]
        self._step = self._receive_reply if connects else self._receive_opening
        self._keys: dict[str, bytes] = {}
        self._sealer: _Records | None = None
        self._opener: _Records | None = None
        self.failed = False

    @property
    def established(self) -> bool:
        """True once the peer proved that it holds the secret."""
        return self._opener is not None and not self.failed

    def opening(self) -> bytes:
        """Return the connector's first frame."""
        return self._note(cbor2.dumps([_VERSION, self._site, self._peer, self._nonce]))

    def receive(self, frame: bytes) -> tuple[bytes | None, bytes | None]:
        """Take one frame; return (a frame to send now, a message), each of which may be absent.

        Raises:
            ProtocolError: the frame is not the next one of a peer that holds the secret.
                The channel is dead.
        """
        if self.failed:
            raise ProtocolError("the channel is dead; it needs a new handshake")
        try:
            if self._opener is not None:
                return None, self._opener.open(frame)
            return self._step(frame), None
        except ProtocolError:
            self.failed = True
            raise

    def seal(self, message: bytes) -> bytes:
        """Return the frame that carries *message* to the peer."""
        if self._sealer is None or self.failed:
            raise ProtocolError("the channel is not established")
        return self._sealer.seal(message)

    def _note(self, frame: bytes) -> bytes:
        self._transcript.update(len(frame).to_bytes(4, "big") + frame)
        return frame

    def _receive_opening(self, frame: bytes) -> bytes:
        version, site, peer, nonce = _fields(frame, str, str, str, bytes)
        if version != _VERSION:
            raise ProtocolError("the peer speaks another version of the link protocol")
        self._check_names(site, peer)
        self._note(frame)
        self._note(cbor2.dumps([self._site, self._nonce]))
        self._derive(nonce + self._nonce)
        self._step = self._receive_proof
        proof = self._proof("listener")
        self._note(proof)
        return cbor2.dumps([self._site, self._nonce, proof])

    def _receive_reply(self, frame: bytes) -> bytes:
        site, nonce, proof = _fields(frame, str, bytes, bytes)
        self._check_names(site, self._site)
        self._note(cbor2.dumps([site, nonce]))
        self._derive(self._nonce + nonce)
        self._check_proof("listener", proof)
        self._note(proof)
        mine = self._proof("connector")
        self._establish()
        return mine

    def _receive_proof(self, frame: bytes) -> None:
        self._check_proof("connector", frame)
        self._establish()

    def _check_names(self, site: str, peer: str) -> None:
        if site != self._peer or peer != self._site:
            raise ProtocolError(
                f"{self._peer} was expected at the other end of the link",
                cure="Compare the site names and link addresses in both qkd-hal.toml",
            )

    def _derive(self, nonces: bytes) -> None:
        ends = (self._site, self._peer) if self._connects else (self._peer, self._site)
        info = cbor2.dumps([_VERSION, *ends])
        okm = _expand(self._secret, nonces, info, 128)
        names = ("connector proof", "listener proof", "connector records", "listener records")
        self._keys = {name: okm[at * 32 : at * 32 + 32] for at, name in enumerate(names)}

    def _proof(self, role: str) -> bytes:
        return hmac.digest(self._keys[f"{role} proof"], self._transcript.digest(), "sha256")

    def _check_proof(self, role: str, proof: bytes) -> None:
        if not hmac.compare_digest(self._proof(role), proof):
            raise ProtocolError(
                f"{self._peer} does not prove that it holds the link secret",
                cure="Give both ends the same link secret file",
            )

    def _establish(self) -> None:
        mine, theirs = ("connector", "listener") if self._connects else ("listener", "connector")
        self._sealer = _Records(self._keys[f"{mine} records"])
        self._opener = _Records(self._keys[f"{theirs} records"])
        self._keys.clear()


class _Records:
    """Records of one direction, numbered from zero."""

    def __init__(self, key: bytes) -> None:
        self._cipher = ChaCha20Poly1305(key)
        self._number = 0

    def _nonce(self) -> bytes:
        self._number += 1
        return self._number.to_bytes(12, "big")

    def seal(self, message: bytes) -> bytes:
        return self._cipher.encrypt(self._nonce(), message, None)

    def open(self, frame: bytes) -> bytes:
        try:
            return self._cipher.decrypt(self._nonce(), frame, None)
        except InvalidTag:
            raise ProtocolError("a record on the link was forged, lost or repeated") from None


def _fields(frame: bytes, *kinds: type) -> list[Any]:
    """Read a handshake message: a canonical CBOR array of these types, texts and bytes.

    By hand, because a general decoder also builds what a stranger asks for: a regular
    expression of one kilobyte takes seconds.
    """
    wrong = ProtocolError("a handshake message on the link is malformed")
    if len(frame) > 1024:  # names, nonces and a proof; an unknown peer gets no more memory
        raise wrong
    values: list[Any] = []
    at = 1
    try:
        for kind in kinds:
            size, at = frame[at] & 31, at + 1
            if size == 24:  # the length stands in a byte of its own
                size, at = frame[at], at + 1
            raw, at = frame[at : at + size], at + size
            values.append(raw if kind is bytes else raw.decode())
    except (IndexError, UnicodeDecodeError):
        raise wrong from None
    if cbor2.dumps(values) != frame:  # of another form, or of other types
        raise wrong
    if any(type(value) is bytes and len(value) != 32 for value in values):
        raise wrong
    return values
