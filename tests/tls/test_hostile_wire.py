"""Bytes that no honest peer sends, and peers that send them too slowly."""

from __future__ import annotations

import random
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qkd_hal.errors import DeadlineError, TLSError
from qkd_hal.tls import Policy, QKDContext

if TYPE_CHECKING:
    from tests.tls.conftest import Contexts, Link, Wires


def client_flight(context: QKDContext) -> bytes:
    """Return the first bytes that a client sends."""
    near, far = socket.socketpair()
    with ThreadPoolExecutor(1) as pool, far:
        client = pool.submit(context.wrap_socket, near)
        flight = far.recv(65_536)
        far.shutdown(socket.SHUT_RDWR)
        assert isinstance(client.exception(timeout=10), TLSError)
    return flight


def answer_to(flight: bytes, server: QKDContext) -> BaseException | None:
    """Send *flight* to a server and hang up; return what the server raised."""
    near, far = socket.socketpair()
    with ThreadPoolExecutor(1) as pool, near:
        answer = pool.submit(server.wrap_socket, far, True)
        near.sendall(flight)
        near.shutdown(socket.SHUT_WR)
        return answer.exception(timeout=10)


def test_a_hello_cut_anywhere_takes_no_key(link: Link, contexts: Contexts) -> None:
    flight = client_flight(contexts[0])
    for end in random.Random(9258).sample(range(len(flight)), 40):
        assert type(answer_to(flight[:end], contexts[1])) is TLSError
    assert link[1].taken == []


def test_a_changed_hello_never_succeeds(link: Link, contexts: Contexts) -> None:
    """Every byte of the hello is under the binder or breaks the format."""
    choose = random.Random(8446)
    for _ in range(40):
        flight = bytearray(client_flight(contexts[0]))
        flight[choose.randrange(len(flight))] ^= choose.randrange(1, 256)
        assert isinstance(answer_to(bytes(flight), contexts[1]), TLSError)
    assert len(link[1].taken) == len(set(link[1].taken))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=600) | st.binary(max_size=600).map(lambda rest: b"\x16\x03\x01" + rest))
def test_garbage_raises_one_exception(contexts: Contexts, flight: bytes) -> None:
    assert type(answer_to(flight, contexts[1])) is TLSError


def test_a_server_that_answers_garbage(contexts: Contexts, wires: Wires) -> None:
    near, far = wires
    far.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    with pytest.raises(TLSError):
        contexts[0].wrap_socket(near)


@pytest.mark.parametrize("server_side", [False, True])
def test_a_silent_peer_meets_the_deadline(
    server_side: bool, contexts: Contexts, wires: Wires
) -> None:
    with pytest.raises(DeadlineError, match="shaking hands"):
        contexts[server_side].wrap_socket(wires[server_side], server_side, timeout=0.05)


def test_a_dripping_peer_meets_the_deadline_of_the_policy(link: Link, wires: Wires) -> None:
    """A byte now and then must not stretch the time: the deadline is for the whole."""
    near, far = wires
    flight = client_flight(QKDContext(link[0], peer="bob"))
    over = threading.Event()

    def drip() -> None:
        for byte in flight:
            if over.wait(0.005):
                return
            near.sendall(bytes([byte]))

    with ThreadPoolExecutor(1) as pool:
        dripping = pool.submit(drip)
        begin = time.monotonic()
        with pytest.raises(DeadlineError):
            QKDContext(link[1], policy=Policy(handshake_timeout=0.3)).wrap_socket(far, True)
        over.set()
        assert time.monotonic() - begin < 2  # the whole flight takes over 6 s
        dripping.result(timeout=10)
    assert link[1].taken == []


def test_a_failed_handshake_closes_the_socket(contexts: Contexts, wires: Wires) -> None:
    near, far = wires
    far.close()
    with pytest.raises(TLSError):
        contexts[0].wrap_socket(near)
    assert near.fileno() == -1
