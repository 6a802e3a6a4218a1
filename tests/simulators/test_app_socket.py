"""Who may talk to a modem: one client key, and nobody at all without the authenticator."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import zmq
from zmq.utils.monitor import parse_monitor_message

from qkd_hal_simulators.modem.app_server import AppSocket
from qkd_hal_simulators.modem.credential import ServerKeys

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE_MS = 10_000
FAILED = (
    zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_DISCONNECTED
)
SERVER, ADMITTED, STRANGER = (zmq.curve_keypair() for _ in range(3))


@pytest.fixture
def app() -> Iterator[AppSocket]:
    made = AppSocket("127.0.0.1:0", ServerKeys(*SERVER, ADMITTED[0]))
    yield made
    made.close()


def comes_in(app: AppSocket, pair: tuple[bytes, bytes] | None) -> bool:
    """Tell whether a client with the key *pair* gets through the handshake."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as client:
        client.linger = 0
        if pair is not None:
            client.curve_serverkey = SERVER[0]
            client.curve_publickey, client.curve_secretkey = pair
        events = client.get_monitor_socket(FAILED | zmq.EVENT_HANDSHAKE_SUCCEEDED)
        client.connect(f"tcp://{app.address}")
        try:
            assert events.poll(PATIENCE_MS)
            event = parse_monitor_message(events.recv_multipart())["event"]
        finally:
            client.disable_monitor()
            events.close(linger=0)
    return bool(event == zmq.EVENT_HANDSHAKE_SUCCEEDED)


def test_only_the_admitted_key_comes_in(app: AppSocket) -> None:
    assert comes_in(app, ADMITTED)
    assert not comes_in(app, STRANGER)
    assert not comes_in(app, None)


def test_without_the_authenticator_nobody_comes_in(app: AppSocket) -> None:
    app._authenticator.stop()
    assert not comes_in(app, STRANGER)
    assert not comes_in(app, ADMITTED)


def test_heartbeats_of_zeromq_stay_off(app: AppSocket) -> None:
    assert app._socket.getsockopt(zmq.HEARTBEAT_IVL) == 0  # libzmq issue 4364, test_link_sockets.py
    assert app._socket.getsockopt(zmq.TCP_KEEPALIVE) == 1
