"""The secure channel against everything that the network may do to it."""

from __future__ import annotations

import warnings

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkd_hal.errors import ProtocolError, UsageError
from qkd_hal.link import SecureChannel, key_id_secret

SECRET = bytes(range(32))


def _channel(*, connects: bool, secret: bytes = SECRET, nonce: bytes = b"") -> SecureChannel:
    site, peer = ("bob", "alice") if connects else ("alice", "bob")
    nonce = nonce or (b"c" if connects else b"l") * 32
    return SecureChannel(secret, site=site, peer=peer, connects=connects, nonce=nonce)


def _pair() -> tuple[SecureChannel, SecureChannel]:
    connector, listener = _channel(connects=True), _channel(connects=False)
    reply, _ = listener.receive(connector.opening())
    assert reply is not None
    proof, _ = connector.receive(reply)
    assert connector.established
    assert not listener.established
    assert proof is not None
    assert listener.receive(proof) == (None, None)
    assert listener.established
    return connector, listener


def _refuses(channel: SecureChannel, frame: bytes) -> None:
    with pytest.raises(ProtocolError):
        channel.receive(frame)
    assert channel.failed
    assert not channel.established
    with pytest.raises(ProtocolError, match="dead"):
        channel.receive(frame)


def test_messages_pass_both_ways_in_order() -> None:
    connector, listener = _pair()
    for number in range(300):
        message = b"%d" % number
        assert listener.receive(connector.seal(message)) == (None, message)
        assert connector.receive(listener.seal(message)) == (None, message)


def test_a_frame_shows_nothing_of_its_message() -> None:
    connector, listener = _pair()
    frames = [connector.seal(b"attack at dawn"), connector.seal(b"attack at dawn")]
    frames.append(listener.seal(b"attack at dawn"))
    assert len({*frames}) == 3
    assert all(b"attack" not in frame for frame in frames)


def test_nothing_is_sealed_before_the_peer_proved_itself() -> None:
    connector, listener = _channel(connects=True), _channel(connects=False)
    with pytest.raises(ProtocolError):
        connector.seal(b"x")
    listener.receive(connector.opening())
    with pytest.raises(ProtocolError):
        listener.seal(b"x")


def test_a_replayed_record_ends_the_channel() -> None:
    connector, listener = _pair()
    frame = connector.seal(b"x")
    listener.receive(frame)
    _refuses(listener, frame)


def test_a_lost_record_ends_the_channel() -> None:
    connector, listener = _pair()
    connector.seal(b"lost")
    _refuses(listener, connector.seal(b"next"))


def test_reordered_records_end_the_channel() -> None:
    connector, listener = _pair()
    first, second = connector.seal(b"1"), connector.seal(b"2")
    _refuses(listener, second)
    with pytest.raises(ProtocolError):
        listener.receive(first)


def test_a_reflected_record_ends_the_channel() -> None:
    connector, _ = _pair()
    _refuses(connector, connector.seal(b"x"))


@given(st.data())
def test_a_record_changed_or_cut_anywhere_ends_the_channel(data: st.DataObject) -> None:
    connector, listener = _pair()
    frame = bytearray(connector.seal(b"some message"))
    if data.draw(st.booleans()):
        frame[data.draw(st.integers(0, len(frame) - 1))] ^= data.draw(st.integers(1, 255))
    else:
        del frame[data.draw(st.integers(0, len(frame) - 1)) :]
    _refuses(listener, bytes(frame))


def test_the_listener_refuses_a_peer_without_the_secret() -> None:
    connector, listener = _channel(connects=True, secret=bytes(32)), _channel(connects=False)
    reply, _ = listener.receive(connector.opening())
    assert reply is not None
    _refuses(connector, reply)  # it cannot check the reply, but an attacker need not
    _refuses(listener, bytes(32))


def test_the_connector_refuses_a_peer_without_the_secret() -> None:
    connector, listener = _channel(connects=True), _channel(connects=False, secret=bytes(32))
    reply, _ = listener.receive(connector.opening())
    assert reply is not None
    _refuses(connector, reply)


def test_the_opening_of_an_old_connection_opens_nothing() -> None:
    old, listener = _channel(connects=True), _channel(connects=False)
    opening = old.opening()
    reply, _ = listener.receive(opening)
    proof, _ = old.receive(reply or b"")
    fresh = _channel(connects=False, nonce=b"m" * 32)
    fresh.receive(opening)
    _refuses(fresh, proof or b"")


def test_the_reply_of_an_old_connection_is_refused() -> None:
    old, listener = _channel(connects=True), _channel(connects=False)
    reply, _ = listener.receive(old.opening())
    fresh = _channel(connects=True, nonce=b"d" * 32)
    fresh.opening()
    _refuses(fresh, reply or b"")


def test_an_opening_reflected_to_a_connector_is_refused() -> None:
    connector = _channel(connects=True)
    _refuses(connector, connector.opening())


@pytest.mark.parametrize(
    ("site", "peer"), [("eve", "alice"), ("bob", "carol"), ("alice", "bob"), ("bob", "bob")]
)
def test_another_site_is_refused_even_with_the_secret(site: str, peer: str) -> None:
    other = SecureChannel(SECRET, site=site, peer=peer, connects=True, nonce=b"c" * 32)
    _refuses(_channel(connects=False), other.opening())


@given(st.data())
def test_a_handshake_changed_anywhere_does_not_complete(data: st.DataObject) -> None:
    connector, listener = _channel(connects=True), _channel(connects=False)
    which = data.draw(st.integers(0, 2))

    def pass_on(step: int, frame: bytes | None) -> bytes:
        raw = bytearray(frame or b"")
        if step == which:
            raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
        return bytes(raw)

    def shake_hands() -> None:
        reply, _ = listener.receive(pass_on(0, connector.opening()))
        proof, _ = connector.receive(pass_on(1, reply))
        listener.receive(pass_on(2, proof))

    with pytest.raises(ProtocolError):
        shake_hands()
    assert not listener.established


@given(st.binary(max_size=2000), st.booleans())
def test_noise_in_the_handshake_raises_protocol_error_only(raw: bytes, connects: bool) -> None:
    channel = _channel(connects=connects)
    if connects:
        channel.opening()
    _refuses(channel, raw)


@pytest.mark.parametrize(
    "fields",
    [
        ["qkd-hal link 0", "bob", "alice", b"c" * 32],
        ["qkd-hal link 1", "bob", "alice", b"c" * 31],
        ["qkd-hal link 1", "bob", "alice", b"c" * 32, 1],
        ["qkd-hal link 1", "bob", b"alice", b"c" * 32],
        ["qkd-hal link 1", "bob" * 500, "alice", b"c" * 32],
    ],
)
def test_a_malformed_opening_is_refused(fields: list[object]) -> None:
    _refuses(_channel(connects=False), cbor2.dumps(fields))


def test_a_stranger_makes_us_build_nothing(recwarn: pytest.WarningsRecorder) -> None:
    warnings.simplefilter("always")
    pattern = cbor2.CBORTag(35, "[[a]")  # whoever compiles it is warned of a nested set
    _refuses(_channel(connects=False), cbor2.dumps(["qkd-hal link 1", pattern]))
    _refuses(_channel(connects=False), cbor2.dumps(pattern))
    assert not recwarn.list


def test_a_short_secret_or_nonce_is_refused() -> None:
    with pytest.raises(UsageError):
        _channel(connects=True, secret=bytes(31))
    with pytest.raises(UsageError):
        _channel(connects=True, nonce=bytes(31))


def test_the_key_id_secret_is_not_the_link_secret() -> None:
    # HKDF-SHA256 (RFC 5869) by hand: extract with an empty salt, one block of expand.
    import hmac

    root = hmac.digest(bytes(32), SECRET, "sha256")
    assert key_id_secret(SECRET) == hmac.digest(root, b"qkd-hal link 1 key ids\x01", "sha256")
