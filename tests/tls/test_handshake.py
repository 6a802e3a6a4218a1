"""The whole way: two sources, two contexts, one protected connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.tls.conftest import Ends, Link


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


def test_data_flows_both_ways(ends: Ends) -> None:
    client, server = ends
    client.sendall(b"from alice")
    assert server.recv() == b"from alice"
    server.sendall(b"from bob")
    assert client.recv() == b"from bob"
