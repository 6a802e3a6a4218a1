"""Frames over TCP: bounds, broken peers, closing."""

from __future__ import annotations

import contextlib
import errno
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from qkd_hal.errors import ConfigurationError, LinkError
from qkd_hal.link.channel import MAX_FRAME
from qkd_hal.pool.connection import Connection
from qkd_hal.pool.transport import CONNECTIONS, Dialer, FrameSocket, Listener, parse_endpoint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_mock import MockerFixture


@pytest.fixture
def pair() -> Iterator[tuple[FrameSocket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        far = socket.create_connection(server.getsockname())
        near, _ = server.accept()
    frames = FrameSocket(near)
    frames.settimeout(5)
    far.settimeout(5)
    yield frames, far
    frames.close()
    far.close()


@pytest.mark.parametrize("size", [1, 2, 65536, MAX_FRAME])
def test_a_frame_arrives_whole(pair: tuple[FrameSocket, socket.socket], size: int) -> None:
    frames, far = pair
    frame = bytes(at % 251 for at in range(size))
    sender = threading.Thread(target=far.sendall, args=(size.to_bytes(4, "big") + frame,))
    sender.start()
    assert frames.receive() == frame
    sender.join()


def test_a_frame_may_come_byte_by_byte_and_two_at_once(
    pair: tuple[FrameSocket, socket.socket],
) -> None:
    frames, far = pair
    for byte in b"\x00\x00\x00\x02ab":
        far.sendall(bytes([byte]))
    assert frames.receive() == b"ab"
    far.sendall(b"\x00\x00\x00\x01a\x00\x00\x00\x01b")
    assert (frames.receive(), frames.receive()) == (b"a", b"b")


@pytest.mark.parametrize("size", [0, MAX_FRAME + 1, (1 << 32) - 1])
def test_a_length_out_of_bounds_is_refused_before_memory_is_given(
    pair: tuple[FrameSocket, socket.socket], size: int
) -> None:
    frames, far = pair
    far.sendall(size.to_bytes(4, "big"))
    with pytest.raises(LinkError, match="limit"):
        frames.receive()


@pytest.mark.parametrize("start", [b"", b"\x00", b"\x00\x00\x00\x02", b"\x00\x00\x00\x02a"])
def test_a_peer_that_ends_in_the_middle_is_a_link_error(
    pair: tuple[FrameSocket, socket.socket], start: bytes
) -> None:
    frames, far = pair
    far.sendall(start)
    far.shutdown(socket.SHUT_WR)
    with pytest.raises(LinkError, match="closed"):
        frames.receive()


def test_silence_is_a_link_error(pair: tuple[FrameSocket, socket.socket]) -> None:
    frames, _ = pair
    frames.settimeout(0.01)
    with pytest.raises(LinkError):
        frames.receive()


@pytest.fixture
def dripping(pair: tuple[FrameSocket, socket.socket]) -> Iterator[FrameSocket]:
    """A stranger who sends a frame of 40 bytes, 50 a second."""
    frames, far = pair
    pause = threading.Event()

    def drip() -> None:
        with contextlib.suppress(OSError):
            for byte in (40).to_bytes(4, "big") + bytes(40):
                far.sendall(bytes([byte]))
                pause.wait(0.02)

    thread = threading.Thread(target=drip)
    thread.start()
    yield frames
    pause.set()
    thread.join()


def test_dripping_bytes_are_no_way_around_a_limit_in_all(dripping: FrameSocket) -> None:
    dripping.settimeout(0.2, in_all=True)
    with pytest.raises(LinkError, match="in time"):
        dripping.receive()


def test_a_stranger_proves_the_secret_in_time_however_slowly_it_talks(
    dripping: FrameSocket, mocker: MockerFixture
) -> None:
    mocker.patch("qkd_hal.pool.connection.HANDSHAKE_TIMEOUT", 0.2)
    with pytest.raises(LinkError, match="in time"):
        Connection(dripping, bytes(32), site="alice", peer="bob", connects=False)


def test_closing_wakes_a_receiver(pair: tuple[FrameSocket, socket.socket]) -> None:
    frames, far = pair
    woken = threading.Event()

    def receive() -> None:
        with pytest.raises(LinkError):
            frames.receive()
        woken.set()

    thread = threading.Thread(target=receive)
    thread.start()
    frames.close()
    assert woken.wait(4)
    thread.join()
    with pytest.raises(LinkError):
        frames.send(b"x")
    assert far.recv(1) == b""


def test_a_listener_gives_strangers_few_connections_and_closes_them_all() -> None:
    inside = threading.Semaphore(0)

    def serve(frames: FrameSocket) -> None:
        inside.release()
        frames.receive()

    listener = Listener("tcp://127.0.0.1:0", serve)
    listener.start()
    address = parse_endpoint(listener.address)
    strangers = [socket.create_connection(address) for _ in range(CONNECTIONS)]
    for _ in strangers:
        assert inside.acquire(timeout=5)
    with socket.create_connection(address) as refused:
        refused.settimeout(5)
        assert refused.recv(1) == b""
    listener.close()
    for stranger in strangers:
        stranger.settimeout(5)
        assert stranger.recv(1) == b""
        stranger.close()
    listener.close()


def test_a_listener_outlives_a_lack_of_descriptors(
    mocker: MockerFixture, caplog: pytest.LogCaptureFixture
) -> None:
    real, served = socket.socket.accept, threading.Event()
    faults = [OSError(errno.EMFILE, "Too many open files")]

    def accept(sock: socket.socket) -> tuple[socket.socket, object]:
        if faults:
            raise faults.pop()
        return real(sock)

    mocker.patch.object(socket.socket, "accept", accept)
    listener = Listener("tcp://127.0.0.1:0", lambda _: served.set())
    listener.start()
    with socket.create_connection(parse_endpoint(listener.address)):
        assert served.wait(5)
    listener.close()
    assert "Too many open files" in caplog.text


def test_a_listener_that_never_started_closes() -> None:
    listener = Listener("tcp://127.0.0.1:0", lambda _: None)
    listener.close()


def test_a_dialer_connects_again_until_closed() -> None:
    served = threading.Semaphore(0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(5)
        host, port = server.getsockname()
        dialer = Dialer(f"tcp://{host}:{port}", lambda frames: served.release())
        dialer.start()
        for _ in range(3):
            connection, _ = server.accept()
            assert served.acquire(timeout=5)
            connection.close()
        dialer.close()
        dialer.close()


def test_a_dialer_keeps_trying_where_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        host, port = server.getsockname()
    done = threading.Event()
    dialer = Dialer(f"tcp://{host}:{port}", lambda frames: done.set())
    dialer.start()
    assert not done.wait(0.15)  # at least one attempt was refused
    with socket.create_server((host, port)) as server:
        assert done.wait(5)
        dialer.close()
        server.close()


@pytest.mark.parametrize(
    "endpoint",
    [
        "",
        "tcp://",
        "tcp://host",
        "tcp://:1",
        "tcp://host:port",
        "tcp://host:99999",
        "udp://host:1",
        "tcp://host:1/path",
        "tcp://user:secret@host:1",
    ],
)
def test_other_addresses_are_refused(endpoint: str) -> None:
    with pytest.raises(ConfigurationError, match="tcp://host:port"):
        parse_endpoint(endpoint)


def test_an_address_is_a_host_and_a_port() -> None:
    assert parse_endpoint("tcp://alice.example:9100") == ("alice.example", 9100)
    assert parse_endpoint("tcp://[::1]:9100") == ("::1", 9100)
