"""What a connection does once it stands: ends, cuts, threads, deadlines."""

from __future__ import annotations

import hashlib
import math
import os
import random
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from qkd_hal.errors import DeadlineError, TLSError, UsageError
from qkd_hal.tls import QKDSocket

if TYPE_CHECKING:
    from tests.tls.conftest import Contexts, Ends, Wires

MIB = 1 << 20


def test_an_orderly_end_is_empty_and_stays_so(ends: Ends) -> None:
    client, server = ends
    client.sendall(b"last words")
    client.close()
    client.close()
    assert [server.recv(), server.recv(), server.recv()] == [b"last words", b"", b""]
    assert client.fileno() == -1


def test_a_cut_is_not_an_end(ends: Ends) -> None:
    client, server = ends
    client.sendall(b"first half")
    client.abort()
    assert server.recv() == b"first half"
    with pytest.raises(TLSError, match="cut while receiving"):
        server.recv()


def test_an_exception_in_the_block_is_a_cut_for_the_peer(ends: Ends) -> None:
    client, server = ends
    with pytest.raises(RuntimeError), client:
        raise RuntimeError("half way")
    with pytest.raises(TLSError):
        server.recv()


def test_the_block_ends_in_order(ends: Ends) -> None:
    client, server = ends
    with client:
        pass
    assert server.recv() == b""


def test_the_peer_may_still_send_after_our_orderly_end(ends: Ends) -> None:
    """TLS 1.3 closes each direction on its own (RFC 8446, section 6.1)."""
    client, server = ends
    with ThreadPoolExecutor(1) as pool:
        plain = pool.submit(client.unwrap)
        assert server.recv() == b""
        server.close()
        plain.result(timeout=10).close()


def test_unwrap_returns_the_plain_socket(ends: Ends) -> None:
    client, server = ends
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(server.unwrap)
        with client.unwrap() as near, other.result(timeout=10) as far:
            near.sendall(b"in clear")
            assert far.recv(100) == b"in clear"
            assert near.gettimeout() == 10
    with pytest.raises(TLSError, match="closed"):
        client.recv()


def test_unwrap_refuses_to_lose_data(ends: Ends) -> None:
    client, server = ends
    server.sendall(b"not read yet")
    with pytest.raises(TLSError, match="still sends"):
        client.unwrap()


@pytest.mark.parametrize("call", ["recv", "sendall"])
def test_close_wakes_a_blocked_thread(call: str, ends: Ends) -> None:
    client, _ = ends
    client.settimeout(None)
    work = client.recv if call == "recv" else lambda: client.sendall(bytes(64 * MIB))
    with ThreadPoolExecutor(1) as pool:
        blocked = pool.submit(work)
        while not client._callers:
            threading.Event().wait(0.001)
        client.close()
        with pytest.raises(TLSError):
            blocked.result(timeout=10)
    assert client.fileno() == -1


def test_the_descriptor_is_kept_while_a_thread_waits_on_it(ends: Ends) -> None:
    """Its number could be another connection's by the time that the thread wakes."""
    client, _ = ends
    client._enter()
    client.close()
    assert client.fileno() != -1
    client._leave()
    assert client.fileno() == -1


def test_both_directions_at_once(ends: Ends) -> None:
    """8 threads on two OpenSSL objects: without the lock this crashes or garbles."""
    data = {end: random.Random(end.fileno()).randbytes(4 * MIB) for end in ends}

    def receive(end: QKDSocket) -> bytes:
        digest, left = hashlib.sha256(), 4 * MIB
        while left:
            part = end.recv(65_536)
            digest.update(part)
            left -= len(part)
        return digest.digest()

    client, server = ends
    with ThreadPoolExecutor(4) as pool:
        arrived = {end: pool.submit(receive, end) for end in ends}
        sent = [pool.submit(end.sendall, data[end]) for end in ends]
        for future in sent:
            future.result(timeout=30)
        assert arrived[server].result(timeout=30) == hashlib.sha256(data[client]).digest()
        assert arrived[client].result(timeout=30) == hashlib.sha256(data[server]).digest()


def test_two_senders_do_not_mix_their_messages(ends: Ends) -> None:
    client, server = ends
    messages = [bytes([letter]) * 300_000 for letter in b"ab"]
    with ThreadPoolExecutor(2) as pool:
        sent = [pool.submit(client.sendall, message) for message in messages]
        received = bytearray()
        while len(received) < 600_000:
            received += server.recv()
        for future in sent:
            future.result(timeout=10)
    assert received in (messages[0] + messages[1], messages[1] + messages[0])


def test_recv_into_and_send_count_bytes(ends: Ends) -> None:
    client, server = ends
    assert client.send(bytes(100_000)) == 16_384
    buffer = bytearray(20)
    assert server.recv_into(buffer, 7) == 7
    assert server.recv_into(buffer) == 20
    assert server.recv_into(memoryview(buffer)[:0]) == 0
    assert server.recv(0) == b""


def test_a_silent_peer_ends_in_a_deadline(ends: Ends) -> None:
    client, server = ends
    client.settimeout(0.05)
    assert client.gettimeout() == 0.05
    with pytest.raises(DeadlineError, match="receiving"):
        client.recv()
    server.sendall(b"late")
    client.settimeout(10)
    assert client.recv() == b"late"


@pytest.mark.parametrize("seconds", [1e9, math.inf])
def test_a_timeout_may_be_as_long_as_one_likes(seconds: float, ends: Ends) -> None:
    client, server = ends
    server.settimeout(seconds)
    with ThreadPoolExecutor(1) as pool:
        received = pool.submit(server.recv)
        while not (server._callers or received.done()):
            time.sleep(0)
        client.sendall(b"late")
        assert received.result(5) == b"late"


def test_a_peer_that_does_not_read_ends_in_a_deadline_and_a_cut(ends: Ends) -> None:
    client, _ = ends
    client.settimeout(0.05)
    with pytest.raises(DeadlineError, match="sending"):
        client.sendall(bytes(64 * MIB))
    with pytest.raises(TLSError, match="closed"):
        client.sendall(b"more")


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_timeouts_are_positive(seconds: float, ends: Ends) -> None:
    with pytest.raises(UsageError):
        ends[0].settimeout(seconds)


def test_the_timeout_of_the_socket_is_kept(contexts: Contexts, wires: Wires) -> None:
    near, far = wires
    near.settimeout(3)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(contexts[1].wrap_socket, far, True)
        with contexts[0].wrap_socket(near) as client, answer.result(timeout=10) as server:
            assert client.gettimeout() == 3
            assert server.gettimeout() is None
            assert client.getpeername() == near.getpeername()


def test_repr_says_what_protects_it(ends: Ends) -> None:
    assert "open" in repr(ends[0])
    assert "X25519MLKEM768" in repr(ends[0])
    ends[0].close()
    assert "closed" in repr(ends[0])


@pytest.mark.parametrize("position", [0, 3, 5, 20, -1])
def test_a_changed_byte_ends_the_connection(position: int, ends: Ends) -> None:
    """The record is caught on its way: header, ciphertext and tag are all protected."""
    client, server = ends
    client.sendall(b"pay 100 to bob")
    on_the_wire = os.dup(server.fileno())
    with socket.socket(fileno=on_the_wire) as tap:
        record = bytearray(tap.recv(1000))
    record[position] ^= 1
    with socket.socket(fileno=os.dup(client.fileno())) as forger:
        forger.send(record)
    server.settimeout(0.5)
    with pytest.raises((TLSError, DeadlineError)):
        server.recv()
