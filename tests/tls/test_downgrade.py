"""Peers that finish the handshake without the quantum key, as real servers do."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from OpenSSL import SSL

from qkd_hal.errors import PolicyError, TLSError
from qkd_hal.tls import CLASSICAL_GROUPS, HYBRID_GROUPS, Policy, QKDContext
from qkd_hal.tls._certificate import certificate_client, certificate_server
from qkd_hal.tls._openssl import _lib, new_context, set_groups

if TYPE_CHECKING:
    from tests.tls.conftest import Ends, Link, Wires


def test_a_server_that_drops_the_key_gets_no_application_data(
    link: Link, wires: Wires, background: ThreadPoolExecutor
) -> None:
    """OpenSSL finishes the handshake on the certificate; only our check notices."""
    near, far = wires
    certificate, _ = certificate_server()
    answer = background.submit(certificate.wrap_socket, far, True)
    with pytest.raises(PolicyError, match="without the quantum key"):
        QKDContext(link[0], peer="bob", policy=Policy(groups=CLASSICAL_GROUPS)).wrap_socket(near)
    with answer.result(timeout=10) as server, pytest.raises(TLSError, match="cut"):
        server.recv(1)
    assert len(link[0].handed_out[0]) == 0
    assert link[0].given_back == []


def test_a_client_without_a_key_is_refused(
    link: Link, wires: Wires, background: ThreadPoolExecutor
) -> None:
    near, far = wires
    policy = Policy(groups=CLASSICAL_GROUPS)
    answer = background.submit(QKDContext(link[1], policy=policy).wrap_socket, far, True)
    with pytest.raises(TLSError):
        certificate_client(certificate_server()[1]).wrap_socket(near)
    assert isinstance(answer.exception(timeout=10), TLSError)
    assert link[1].taken == []


def test_a_ticket_does_not_stand_in_for_a_key(
    link: Link, ends: Ends, wires: Wires, background: ThreadPoolExecutor
) -> None:
    """A resumed session looks like an external key, but no quantum key is behind it."""
    client, server = ends
    server.sendall(b"after the tickets")
    client.recv()
    session = client._connection.get_session()
    assert session is not None
    openssl = SSL.Context(SSL.TLS_METHOD)
    set_groups(openssl, HYBRID_GROUPS)
    near, far = wires
    resuming = SSL.Connection(openssl, near)
    _lib.SSL_set_session(resuming._ssl, session._session)  # pyOpenSSL binds it to a context
    resuming.set_connect_state()
    answer = background.submit(QKDContext(link[1]).wrap_socket, far, True)
    with pytest.raises(SSL.Error):
        resuming.do_handshake()
    assert isinstance(answer.exception(timeout=10), TLSError)
    assert len(link[1].taken) == 1


def test_tickets_and_cache_are_off() -> None:
    openssl = new_context(Policy())
    assert openssl.get_session_cache_mode() == SSL.SESS_CACHE_OFF
    assert _lib.SSL_CTX_get_options(openssl._context) & SSL.OP_NO_TICKET
