"""The whole way: two sources, two contexts, one protected connection."""

from __future__ import annotations

import gc
import logging
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from qkd_hal.errors import KeysExhaustedError, UsageError
from qkd_hal.keys import Origin, Provenance
from qkd_hal.tls import STRICT_SUITES, Policy, QKDContext

if TYPE_CHECKING:
    from tests.tls.conftest import Contexts, Ends, Link, Shake, Wires


def test_both_ends_agree_on_what_protects_them(ends: Ends, link: Link) -> None:
    client, server = ends
    assert client.protection == server.protection
    assert client.protection.to_json() == {
        "version": "TLSv1.3",
        "cipher": "TLS_CHACHA20_POLY1305_SHA256",
        "group": "X25519MLKEM768",
        "protection": "quantum+hybrid",
        "psk_used": True,
        "key_ref": str(link[0].reserved[0]),
        "provenance": "hardware",
        "simulated": False,
    }
    assert (client.version(), client.cipher(), client.group) == (
        "TLSv1.3",
        "TLS_CHACHA20_POLY1305_SHA256",
        "X25519MLKEM768",
    )


def test_data_flows_both_ways(ends: Ends) -> None:
    client, server = ends
    client.sendall(b"from alice")
    assert server.recv() == b"from alice"
    server.sendall(b"from bob")
    assert client.recv() == b"from bob"


def test_one_key_for_each_connection_and_our_copies_are_wiped(ends: Ends, link: Link) -> None:
    alice, bob = link
    assert alice.reserved == bob.taken == [ends[0].protection.key_ref]
    assert alice.given_back == []
    assert [len(key) for key in alice.handed_out + bob.handed_out] == [0, 0]


@pytest.mark.parametrize(
    "policy",
    [
        Policy(suites=STRICT_SUITES),
        Policy(suites=STRICT_SUITES, key_size=64),
        Policy(groups=("X25519",)),
        Policy(groups=("MLKEM1024", "secp384r1")),
    ],
)
def test_other_profiles(policy: Policy, link: Link, shake: Shake) -> None:
    client, server = (
        QKDContext(link[0], peer="bob", policy=policy),
        QKDContext(link[1], policy=policy),
    )
    for future in shake(client, server):
        with future.result(timeout=10) as end:
            assert end.group in policy.groups
            assert end.cipher() in policy.suites


def test_a_hello_retry_takes_the_key_once(link: Link, shake: Shake) -> None:
    """The client's first key share does not fit, so OpenSSL asks both ends for the key twice."""
    client = QKDContext(link[0], peer="bob", policy=Policy(groups=("secp256r1", "X25519")))
    server = QKDContext(link[1], policy=Policy(groups=("X25519",)))
    for future in shake(client, server):
        with future.result(timeout=10) as end:
            assert end.group == "X25519"
    assert link[0].reserved == link[1].taken
    assert len(link[1].taken) == 1


def test_simulated_keys_are_marked_at_both_ends(link: Link, shake: Shake) -> None:
    policy = Policy(allow_simulated=True)
    for source in link:
        source.provenance = Provenance(Origin.SIMULATED)
    client, server = (
        QKDContext(link[0], peer="bob", policy=policy),
        QKDContext(link[1], policy=policy),
    )
    for future in shake(client, server):
        with future.result(timeout=10) as end:
            assert end.protection.simulated


def test_the_hello_offers_tls_1_3_alone(contexts: Contexts, wires: Wires) -> None:
    near, far = wires
    with ThreadPoolExecutor(1) as pool:
        client = pool.submit(contexts[0].wrap_socket, near)
        hello = far.recv(65_536)
        far.shutdown(socket.SHUT_RDWR)
        assert client.exception(timeout=10)
    assert bytes.fromhex("002b 0003 02 0304") in hello  # supported_versions (RFC 8446, 4.2.1)


def test_a_dry_source_sends_nothing(link: Link, wires: Wires) -> None:
    link[0].capacity = 0
    near, far = wires
    with pytest.raises(KeysExhaustedError):
        QKDContext(link[0], peer="bob").wrap_socket(near)
    assert far.recv(1) == b""


def test_a_client_without_a_peer_is_told(link: Link, wires: Wires) -> None:
    with pytest.raises(UsageError, match="peer="):
        QKDContext(link[0]).wrap_socket(wires[0])


def test_many_connections_at_once_on_one_context(link: Link) -> None:
    """Every end gets its own key, whichever thread OpenSSL calls back in."""
    client, server = QKDContext(link[0], peer="bob"), QKDContext(link[1], peers=["alice"])

    def both_ends(pool: ThreadPoolExecutor, number: int) -> None:
        near, far = socket.socketpair()
        answer = pool.submit(server.wrap_socket, far, True)
        with client.wrap_socket(near) as here, answer.result(timeout=30) as there:
            assert here.protection.key_ref == there.protection.key_ref
            here.sendall(b"%d" % number)
            assert there.recv() == b"%d" % number

    with ThreadPoolExecutor(4) as clients, ThreadPoolExecutor(4) as servers:
        list(clients.map(both_ends, [servers] * 100, range(100)))
    assert len(set(link[1].taken)) == 100


def open_descriptors() -> int:
    return len(list(Path("/dev/fd").iterdir()))


def test_200_handshakes_leave_no_descriptor(link: Link, background: ThreadPoolExecutor) -> None:
    client, server = QKDContext(link[0], peer="bob"), QKDContext(link[1])
    before = open_descriptors()
    for number in range(200):
        near, far = socket.socketpair()
        if number % 2:  # every other one fails
            link[1].incoming.clear()
            link[0].on_reserve = lambda ref: link[1].incoming.pop(ref)
        else:
            link[0].on_reserve = lambda ref: None
        answer = background.submit(server.wrap_socket, far, True)
        try:
            client.wrap_socket(near).close()
            answer.result(timeout=10).close()
        except OSError:
            assert number % 2
            assert answer.exception(timeout=10)
    gc.collect()
    assert open_descriptors() == before


def test_the_log_names_the_key_and_nothing_more(
    contexts: Contexts, shake: Shake, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "qkd_hal.tls"):
        for future in shake(*contexts):
            future.result(timeout=10).close()
    assert caplog.text.count("together with X25519MLKEM768") == 2
