"""The certificate side of the yardstick: what people run without quantum keys."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import crypto

from qkd_hal.errors import TLSError
from qkd_hal.sources import Deadline
from qkd_hal.tls._io import repeat
from qkd_hal.tls._openssl import SSL, set_groups
from qkd_hal.tls.groups import CLASSICAL_GROUPS

if TYPE_CHECKING:
    import socket

    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

__all__ = ["CertificateContext", "certificate_client", "certificate_server"]

_TIMEOUT = 10.0  # seconds, for the handshake and each call after it
_VALID = datetime.timedelta(days=1)


class CertificateContext:
    """TLS 1.3 with an RSA certificate of the server and one of *groups*: no quantum key.

    Only a yardstick: no part of :mod:`qkd_hal.tls` falls back to it.
    """

    def __init__(self, openssl: SSL.Context, groups: tuple[str, ...]) -> None:
        openssl.set_min_proto_version(SSL.TLS1_3_VERSION)
        openssl.set_options(SSL.OP_NO_TICKET)  # as for the quantum handshakes
        openssl.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        set_groups(openssl, groups)
        self._openssl = openssl

    def wrap_socket(self, sock: socket.socket, server_side: bool = False) -> _Certified:
        """Shake hands on *sock* and own it from then on.

        Raises:
            TLSError: the certificate is not the one expected, or the peer broke off.
            DeadlineError: the handshake took longer than 10 s.
        """
        sock.setblocking(False)
        connection = SSL.Connection(self._openssl, sock)
        if server_side:
            connection.set_accept_state()
        else:
            connection.set_connect_state()
        certified = _Certified(connection, sock)
        try:
            repeat(connection.do_handshake, sock, Deadline(_TIMEOUT), "shaking hands")
        except BaseException:
            sock.close()
            raise
        return certified


class _Certified:
    def __init__(self, connection: SSL.Connection, sock: socket.socket) -> None:
        self._connection, self._sock = connection, sock

    def recv(self, size: int, /) -> bytes:
        deadline = Deadline(_TIMEOUT)
        return repeat(lambda: self._connection.recv(size), self._sock, deadline, "receiving")

    def sendall(self, data: bytes, /) -> None:
        repeat(lambda: self._connection.send(data), self._sock, Deadline(_TIMEOUT), "sending")

    def __enter__(self) -> _Certified:
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()


def certificate_server(
    bits: int = 2048, *, groups: tuple[str, ...] = CLASSICAL_GROUPS
) -> tuple[CertificateContext, bytes]:
    """Return a server with a fresh RSA key of *bits*, and its certificate as PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    certificate = _self_signed(key)
    openssl = SSL.Context(SSL.TLS_METHOD)
    openssl.use_privatekey(key)
    openssl.use_certificate(certificate)
    return CertificateContext(openssl, groups), certificate.public_bytes(Encoding.PEM)


def certificate_client(
    pem: bytes, *, groups: tuple[str, ...] = CLASSICAL_GROUPS
) -> CertificateContext:
    """Return a client that trusts exactly the certificate in *pem*, and checks it."""
    openssl = SSL.Context(SSL.TLS_METHOD)
    store = openssl.get_cert_store()
    if store is None:
        raise TLSError("this OpenSSL has no store for trusted certificates")
    store.add_cert(crypto.X509.from_cryptography(x509.load_pem_x509_certificate(pem)))
    openssl.set_verify(SSL.VERIFY_PEER)
    return CertificateContext(openssl, groups)


def _self_signed(key: RSAPrivateKey) -> x509.Certificate:
    name = x509.Name.from_rfc4514_string("CN=qkd-hal yardstick")
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - _VALID)
        .not_valid_after(now + _VALID)
        .sign(key, hashes.SHA256())
    )
