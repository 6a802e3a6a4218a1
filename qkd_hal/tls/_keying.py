"""One handshake's key, from the source to OpenSSL: client and server.

Whatever happens to the handshake, the key is gone afterwards. A client's key ID was on the
wire, and a server takes a key before its peer has proved anything.
"""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from qkd_hal.errors import KeyNotFoundError, PolicyError, ProtocolError, TLSError
from qkd_hal.tls.identity import decode_identity, encode_identity

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    from qkd_hal.keys import KeyRef, Provenance
    from qkd_hal.sources import KeySource
    from qkd_hal.tls.policy import Policy

__all__ = ["Offer", "ServerKeying", "reserved_offer"]


@dataclass(frozen=True, slots=True)
class Offer:
    """What a client puts into one handshake."""

    ref: KeyRef
    provenance: Provenance
    identity: bytes
    key: memoryview = field(repr=False)


@contextmanager
def reserved_offer(source: KeySource, peer: str, policy: Policy) -> Iterator[Offer]:
    """Reserve a fresh key, offer it inside the block, and burn it at the end.

    OpenSSL asks again after a HelloRetryRequest, so the bytes stay readable until then.

    Raises:
        PolicyError: the key is simulated; it was given back, for nothing left the machine.
    """
    if not policy.allow_simulated:  # a pool looks through all its blocks to tell
        policy.require_provenance(source.provenance)
    reservation = source.reserve(peer, policy.key_size)
    provenance = reservation.key.provenance
    try:
        policy.require_provenance(provenance)
    except PolicyError:
        reservation.give_back()
        raise
    with reservation, reservation.key.exposed() as key:
        yield Offer(reservation.ref, provenance, encode_identity(reservation.ref), key)


class ServerKeying:
    """Takes the key that the client names: once, however often OpenSSL asks.

    ``fault`` keeps why a key was refused. The client learns nothing of it: OpenSSL is given
    a random key, and the handshake ends as it does with a wrong key (RFC 8446, E.6).
    """

    def __init__(self, source: KeySource, peers: Container[str] | None, policy: Policy) -> None:
        self._source = source
        self._peers = peers
        self._policy = policy
        self._end = ExitStack()
        self._identity: bytes | None = None
        self._key = memoryview(b"")
        self.ref: KeyRef | None = None
        self.provenance: Provenance | None = None
        self.fault: BaseException | None = None

    def close(self) -> None:
        """Wipe the key."""
        self._end.close()

    def find(self, identity: bytes) -> memoryview:
        """Return the key under *identity*, or random bytes after any refusal."""
        try:
            if self.fault is None:
                return self._answer(identity)
        except BaseException as fault:  # noqa: BLE001 - carried over OpenSSL's frames, see check()
            self.fault = fault
        return memoryview(os.urandom(self._policy.key_size))

    def check(self) -> None:
        """Raise what was refused inside OpenSSL, as what the caller expects.

        Raises:
            TLSError: the client named no key that this server may use.
            QKDError: the key source failed, or the policy forbids the key.
        """
        if isinstance(self.fault, (KeyNotFoundError, ProtocolError)):
            what = "refused the client: it named no key that this server holds for it"
            raise TLSError(what, key_id=self.fault.key_id) from self.fault
        if self.fault is not None:
            raise self.fault

    def _answer(self, identity: bytes) -> memoryview:
        if self._identity is None:
            self._identity = identity
            self._key = self._take(decode_identity(identity))
        elif identity != self._identity:
            raise ProtocolError("the client named a second key in one handshake")
        return self._key

    def _take(self, ref: KeyRef) -> memoryview:
        if self._peers is not None and ref.source not in self._peers:
            # Also stops a reflected hello (RFC 9257, section 4.1): our own site is no peer.
            raise KeyNotFoundError(f"{ref.source!r} is no peer here", key_id=ref.key_id)
        key = self._source.take(ref, self._policy.key_size)
        self._end.callback(key.wipe)
        self._policy.require_provenance(key.provenance)
        self.ref, self.provenance = ref, key.provenance
        return self._end.enter_context(key.exposed())
