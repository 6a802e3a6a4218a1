"""The certificate yardstick."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from qkd_hal.errors import TLSError
from qkd_hal.tls import QKDContext
from qkd_hal.tls.compare import (
    answer_handshakes,
    certificate_client,
    certificate_server,
    time_handshakes,
)

if TYPE_CHECKING:
    from tests.tls.conftest import Link


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


def test_both_kinds_are_timed_in_turn(
    listener: socket.socket,
    link: Link,
    background: ThreadPoolExecutor,
) -> None:
    client, server = QKDContext(link[0], peer="bob"), QKDContext(link[1])
    certificate, pem = certificate_server()
    answers = background.submit(answer_handshakes, listener, [server, certificate], 3)
    medians = time_handshakes(
        listener.getsockname(), {"quantum": client, "rsa2048": certificate_client(pem)}, 3
    )
    answers.result(timeout=10)
    assert set(medians) == {"quantum", "rsa2048"}
    assert all(0 < median < 10_000 for median in medians.values())
    assert len(link[1].taken) == 3


def test_the_certificate_is_checked(
    listener: socket.socket, background: ThreadPoolExecutor
) -> None:
    """Otherwise the yardstick would be spared work that a real client does."""
    (certificate, _), (_, foreign) = certificate_server(), certificate_server()
    answer = background.submit(answer_handshakes, listener, [certificate], 1)
    with pytest.raises(TLSError, match="certificate verify failed"):
        time_handshakes(listener.getsockname(), {"rsa2048": certificate_client(foreign)}, 1)
    with pytest.raises(TLSError):
        answer.result(timeout=10)


def test_an_absent_client_does_not_hang_the_server(listener: socket.socket) -> None:
    with pytest.raises(TimeoutError):
        answer_handshakes(listener, [certificate_server()[0]], 1, timeout=0.05)
