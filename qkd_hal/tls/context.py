"""The front: from a key source and a policy to protected connections."""

from __future__ import annotations

import logging
import socket
from contextlib import closing
from typing import TYPE_CHECKING

from qkd_hal.errors import TLSError, UsageError
from qkd_hal.sources import Deadline
from qkd_hal.tls._io import repeat
from qkd_hal.tls._keying import ServerKeying, reserved_offer
from qkd_hal.tls._openssl import SSL, answering, new_context, offering, psk_was_used
from qkd_hal.tls.connection import QKDSocket
from qkd_hal.tls.groups import canonical_group
from qkd_hal.tls.policy import REQUIRE_QUANTUM, Policy
from qkd_hal.tls.protection import Protection

if TYPE_CHECKING:
    from collections.abc import Collection

    from qkd_hal.keys import KeyRef, Provenance
    from qkd_hal.sources import KeySource

__all__ = ["QKDContext"]

logger = logging.getLogger("qkd_hal.tls")


class QKDContext:
    """Makes TLS 1.3 connections that a quantum key protects; for any number of threads.

    A client reserves a fresh key of *source* for *peer* in every handshake, and the key is
    burned with it. A server takes the key that the client names, if its owner is among
    *peers* (by default *peer* alone; with neither, whomever *source* accepts).
    """

    def __init__(
        self,
        source: KeySource,
        *,
        peer: str | None = None,
        peers: Collection[str] | None = None,
        policy: Policy = REQUIRE_QUANTUM,
    ) -> None:
        self.source = source
        self.peer = peer
        self.peers = [peer] if peers is None and peer else peers
        self.policy = policy
        self._openssl = new_context(policy)

    def wrap_socket(
        self, sock: socket.socket, server_side: bool = False, timeout: float | None = None
    ) -> QKDSocket:
        """Shake hands on a connected *sock* and check the result against the policy.

        Takes *sock* over: it is closed when this fails. *timeout*: seconds for the whole
        handshake, by default the policy's; later calls keep the timeout that *sock* had.

        Raises:
            PolicyError: the connection is, or would be, weaker than the policy allows.
            KeysExhaustedError: the source has no key for the peer; nothing was sent.
            DeadlineError: the handshake took too long.
            TLSError: the peer refused or broke off, or named no key that we hold.
        """
        try:
            return self._wrap(sock, server_side, Deadline(timeout or self.policy.handshake_timeout))
        except BaseException:
            sock.close()
            raise

    def _wrap(self, sock: socket.socket, server_side: bool, deadline: Deadline) -> QKDSocket:
        timeout = sock.gettimeout()
        sock.setblocking(False)
        connection = SSL.Connection(self._openssl, sock)
        shake_hands = self._accept if server_side else self._connect
        protection = shake_hands(connection, sock, deadline)
        self.policy.require(protection)
        if logger.isEnabledFor(logging.INFO):
            logger.info("protected by %s", protection.reason)
        return QKDSocket(connection, sock, protection, timeout)

    def _connect(
        self, connection: SSL.Connection, sock: socket.socket, deadline: Deadline
    ) -> Protection:
        if self.peer is None:
            raise UsageError("a client must say whom it shares keys with", cure="Pass peer=…")
        connection.set_connect_state()
        with (
            reserved_offer(self.source, self.peer, self.policy) as offer,
            offering(connection, offer.identity, offer.key, self.policy),
        ):
            repeat(connection.do_handshake, sock, deadline, "shaking hands")
        return _protection(connection, offer.ref, offer.provenance)

    def _accept(
        self, connection: SSL.Connection, sock: socket.socket, deadline: Deadline
    ) -> Protection:
        connection.set_accept_state()
        with closing(ServerKeying(self.source, self.peers, self.policy)) as keying:
            try:
                with answering(connection, keying.find, self.policy):
                    repeat(connection.do_handshake, sock, deadline, "shaking hands")
            except TLSError:
                keying.check()
                raise
        return _protection(connection, keying.ref, keying.provenance)


def _protection(
    connection: SSL.Connection, ref: KeyRef | None, provenance: Provenance | None
) -> Protection:
    return Protection(
        version=connection.get_protocol_version_name(),
        cipher=connection.get_cipher_name() or "none",
        group=canonical_group(connection.get_group_name()),
        psk_used=psk_was_used(connection),
        key_ref=ref,
        provenance=provenance,
    )
