"""What ``qkd-hal tls connect`` does with a site: connect, move data, measure, drain."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from qkd_hal.cli.tls.exchange import move
from qkd_hal.errors import KeysExhaustedError, TLSError

if TYPE_CHECKING:
    from qkd_hal.cli.wiring import OpenPool
    from qkd_hal.tls import QKDContext, QKDSocket
    from qkd_hal.tls.compare import CertificateContext

__all__ = ["Client"]

_TIMEOUT = 10.0  # seconds for a connection and each call on it


class Client:
    """A TLS client of one pool, and the report of what it did."""

    def __init__(self, server: tuple[str, int], pool: OpenPool, context: QKDContext) -> None:
        self._server, self._context = server, context
        self._key_ids: list[str] = []
        self._facts: dict[str, Any] = {"peer": pool.entry.peer}

    @property
    def report(self) -> dict[str, Any]:
        """What was done, in plain types; key IDs, never keys."""
        return self._facts | {"key_ids": self._key_ids}

    def exchange(self, size: int) -> None:
        """Connect once, note what protects the connection, and move *size* bytes both ways."""
        with self._connected() as connection:
            self._facts["tls"] = connection.protection.to_json()
            if size:
                self._facts["moved"] = move(connection, size).to_json()

    def measure(self, yardstick: tuple[str, int], certificate: bytes, rounds: int) -> None:
        """Time handshakes in turn: quantum, RSA-2048 with the same key exchange, and with X25519.

        The second differs in what authenticates alone; the third is weaker than both.
        """
        from qkd_hal.tls.compare import certificate_client, time_handshakes

        contexts: dict[str, QKDContext | CertificateContext]
        contexts = {
            "quantum": self._context,
            "rsa2048": certificate_client(certificate, groups=self._context.policy.groups),
            "rsa2048_x25519": certificate_client(certificate),
        }
        self._facts["handshake_ms"] = time_handshakes(yardstick, contexts, rounds)

    def drain(self) -> None:
        """Connect until the pool refuses, and note how it did."""
        handshakes = 0
        while True:
            try:
                self._connected().close()
            except KeysExhaustedError as error:
                refusal = {"code": error.code, "message": error.what}
                self._facts["exhausted"] = {"handshakes": handshakes, "error": refusal}
                return
            handshakes += 1

    def _connected(self) -> QKDSocket:
        connection = self._context.wrap_socket(self._dial())
        ref = connection.protection.key_ref
        self._key_ids.append(str(ref.key_id) if ref else "none")
        return connection

    def _dial(self) -> socket.socket:
        try:
            sock = socket.create_connection(self._server, _TIMEOUT)
        except OSError as error:
            host, port = self._server
            raise TLSError(
                f"cannot connect to {host}:{port}: {error}", cure="Start its server"
            ) from None
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # records are whole
        return sock
