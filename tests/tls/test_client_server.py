"""connect() and serve() over TCP."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qkd_hal.errors import TLSError
from qkd_hal.tls import QKDSocket, connect, serve

if TYPE_CHECKING:
    from tests.tls.conftest import Link


def echo(connection: QKDSocket) -> None:
    while data := connection.recv():
        connection.sendall(data)


def test_ten_line_client_and_server(link: Link) -> None:
    alice, bob = link
    with (
        serve(("127.0.0.1", 0), bob, echo, peers=["alice"]) as server,
        connect(server.address, alice, peer="bob", timeout=10) as client,
    ):
        client.sendall(b"hello")
        assert client.recv() == b"hello"


def test_nobody_listening_costs_no_key(link: Link) -> None:
    alice, bob = link
    with serve(("127.0.0.1", 0), bob, echo) as server:
        address = server.address
    with pytest.raises(TLSError, match="cannot connect"):
        connect(address, alice, peer="bob", timeout=10)
    assert alice.reserved == []
