"""One handshake's key, from the source to OpenSSL: client and server.

Whatever happens to the handshake, the key is gone afterwards. A client's key ID was on the
wire, and a server takes a key before its peer has proved anything.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING

from qkd_hal.errors import KeyNotFoundError, PolicyError, ProtocolError, TLSError
from qkd_hal.tls.identity import decode_identity, encode_identity

if TYPE_CHECKING:
    from collections.abc import Container
    from types import TracebackType

    from qkd_hal.keys import KeyRef, Provenance
    from qkd_hal.sources import KeySource
    from qkd_hal.tls.policy import Policy

__all__ = ["ClientKeying", "ServerKeying"]


class ClientKeying:
    """Reserves a fresh key and offers it for as long as the ``with`` block runs.

    OpenSSL asks again after a HelloRetryRequest, so the bytes stay readable until the end
    of the handshake.
    """

    def __init__(self, source: KeySource, peer: str, policy: Policy) -> None:
        policy.require_provenance(source.provenance)
        self._reservation = source.reserve(peer, policy.key_size)
        self._end = ExitStack()
        try:
            policy.require_provenance(self._reservation.key.provenance)
        except PolicyError:
            self._reservation.give_back()  # nothing left the machine
            raise
        self.ref: KeyRef = self._reservation.ref
        self.provenance: Provenance = self._reservation.key.provenance
        self.identity = encode_identity(self.ref)

    def __enter__(self) -> ClientKeying:
        self._end.enter_context(self._reservation)
        self.key = self._end.enter_context(self._reservation.key.exposed())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end.close()


class ServerKeying:
    """Takes the key that the client names: once, however often OpenSSL asks.

    ``fault`` keeps why a key was refused. The client learns nothing of it: OpenSSL is given
    a random key, and the handshake ends as it does with a wrong key (RFC 8446, E.6).
    """

    def __init__(self, source: KeySource, peers: Container[str] | None, policy: Policy) -> None:
        policy.require_provenance(source.provenance)
        self._source = source
        self._peers = peers
        self._policy = policy
        self._end = ExitStack()
        self._identity: bytes | None = None
        self._key = memoryview(b"")
        self.ref: KeyRef | None = None
        self.provenance: Provenance | None = None
        self.fault: BaseException | None = None

    def __enter__(self) -> ServerKeying:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
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
