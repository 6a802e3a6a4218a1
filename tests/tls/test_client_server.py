"""connect() and serve() over TCP."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import pytest

from qkd_hal.errors import DeadlineError, TLSError
from qkd_hal.tls import QKDContext, QKDSocket, Server, connect, serve

if TYPE_CHECKING:
    from pytest_mock import MockerFixture

    from tests.tls.conftest import Link

ANY = ("127.0.0.1", 0)


def echo(connection: QKDSocket) -> None:
    while data := connection.recv():
        connection.sendall(data)


def exchange(server: Server, link: Link) -> bytes:
    with connect(server.address, link[0], peer="bob", timeout=10) as client:
        client.sendall(b"hello")
        return client.recv()


def test_ten_line_client_and_server(link: Link) -> None:
    with serve(ANY, link[1], echo, peers=["alice"]) as server:
        assert exchange(server, link) == b"hello"


def test_records_leave_at_once(link: Link) -> None:
    """With Nagle's algorithm a small answer waits for the acknowledgement of the last."""
    with (
        serve(ANY, link[1], echo) as server,
        connect(server.address, link[0], peer="bob") as client,
    ):
        assert client._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_nobody_listening_costs_no_key(link: Link) -> None:
    with serve(ANY, link[1], echo) as server:
        address = server.address
    with pytest.raises(TLSError, match=r"cannot connect to 127\.0\.0\.1"):
        connect(address, link[0], peer="bob", timeout=10)
    assert link[0].reserved == []


def test_a_host_that_does_not_answer_meets_the_deadline(link: Link, mocker: MockerFixture) -> None:
    mocker.patch("socket.create_connection", side_effect=TimeoutError)  # a dropped SYN
    with pytest.raises(DeadlineError):
        connect(("192.0.2.1", 443), link[0], peer="bob", timeout=0.1)
    assert link[0].reserved == []


def test_a_refused_client_is_logged_and_others_are_served(
    link: Link, caplog: pytest.LogCaptureFixture
) -> None:
    with serve(ANY, link[1], echo) as server:
        link[0].on_reserve = lambda ref: link[1].incoming.pop(ref)
        with pytest.raises(TLSError):
            exchange(server, link)
        link[0].on_reserve = lambda ref: None
        assert exchange(server, link) == b"hello"
    assert "[tls] refused the client" in caplog.text
    assert str(link[0].reserved[0].key_id) in caplog.text


def test_a_failing_handler_cuts_its_connection_only(
    link: Link, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(connection: QKDSocket) -> None:
        if connection.recv() == b"fail":
            raise RuntimeError("no such page")
        connection.sendall(b"hello")

    with serve(ANY, link[1], fail) as server:
        with connect(server.address, link[0], peer="bob", timeout=10) as client:
            client.sendall(b"fail")
            with pytest.raises(TLSError, match="cut"):
                client.recv()
        assert exchange(server, link) == b"hello"
    assert "no such page" in caplog.text


def test_closing_cuts_open_connections_and_handshakes(link: Link) -> None:
    server = serve(ANY, link[1], echo)
    with (
        connect(server.address, link[0], peer="bob", timeout=10) as client,
        socket.create_connection(server.address) as dawdler,
    ):
        while len(server._live) < 2:
            threading.Event().wait(0.001)
        server.close()
        server.close()
        with pytest.raises(TLSError):
            client.recv()
        assert dawdler.recv(1) == b""
    assert not server._live
    with pytest.raises(TLSError):
        exchange(server, link)


def test_the_number_of_connections_is_limited(link: Link) -> None:
    listener = socket.create_server(ANY)
    with Server(QKDContext(link[1]), listener, echo, limit=1) as server:
        server.start()
        with connect(server.address, link[0], peer="bob", timeout=10) as first:
            first.sendall(b"1")
            assert first.recv() == b"1"
            first.settimeout(0.1)
            with socket.create_connection(server.address):
                with pytest.raises(DeadlineError):
                    first.recv()
                assert len(server._live) == 1
        assert exchange(server, link) == b"hello"  # the abandoned one was let go


def test_an_accept_that_fails_does_not_end_the_server(link: Link, mocker: MockerFixture) -> None:
    real = socket.create_server(ANY)
    listener = mocker.Mock(wraps=real)
    faults = [OSError(24, "Too many open files")]

    def accept() -> object:
        if faults:
            raise faults.pop()
        return real.accept()

    listener.accept.side_effect = accept
    with Server(QKDContext(link[1]), listener, echo, limit=1) as server:
        server.start()
        assert exchange(server, link) == b"hello"
    assert not faults


def test_a_signal_before_a_handler_runs_does_not_keep_it_from_closing(
    link: Link, mocker: MockerFixture
) -> None:
    with (
        socket.create_server(ANY) as listener,
        Server(QKDContext(link[1]), listener, echo) as server,
    ):
        mocker.patch("threading.Thread.start", side_effect=KeyboardInterrupt)
        with socket.create_connection(server.address), pytest.raises(KeyboardInterrupt):
            server.serve_forever()
        (unstarted,) = server._live.values()
        server.close()
        unstarted.close()
