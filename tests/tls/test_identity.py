"""The PSK identity codec."""

from __future__ import annotations

import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qkd_hal.errors import ProtocolError
from qkd_hal.keys import KeyId, KeyRef
from qkd_hal.tls import decode_identity, encode_identity
from qkd_hal.tls.identity import MAX_IDENTITY

NAMES = st.text(string.ascii_letters + string.digits + "._-", min_size=1, max_size=64).filter(
    lambda name: name.strip("._-") != ""
)
REFS = st.builds(KeyRef, NAMES, st.builds(KeyId, st.uuids()))
GOOD = b"qkd1:alice:00112233-4455-8677-8899-aabbccddeeff"


def test_known_bytes() -> None:
    ref = KeyRef("alice", KeyId.parse("00112233-4455-8677-8899-aabbccddeeff"))
    assert encode_identity(ref) == GOOD
    assert decode_identity(GOOD) == ref


@given(REFS)
def test_round_trip_fits_every_stack(ref: KeyRef) -> None:
    identity = encode_identity(ref)
    assert decode_identity(identity) == ref
    assert len(identity) <= MAX_IDENTITY
    assert identity.isascii()
    assert b"\0" not in identity


@given(st.binary(max_size=200))
@example(b"")
@example(b"qkd1::")
def test_foreign_bytes_raise_one_exception(identity: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_identity(identity)


@pytest.mark.parametrize("end", range(len(GOOD)))
def test_cut_identities_are_refused(end: int) -> None:
    with pytest.raises(ProtocolError):
        decode_identity(GOOD[:end])


@given(st.binary(min_size=1, max_size=100))
def test_trailing_bytes_are_refused(rest: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_identity(GOOD + rest)


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255))
def test_a_changed_byte_never_names_the_same_key(position: int, value: int) -> None:
    changed = bytearray(GOOD)
    changed[position] = value
    try:
        ref = decode_identity(bytes(changed))
    except ProtocolError:
        return
    assert encode_identity(ref) == changed


@pytest.mark.parametrize(
    "identity",
    [
        GOOD.replace(b"qkd1", b"qkd2"),
        GOOD.upper().replace(b"QKD1", b"qkd1"),  # the same key by a second name
        GOOD.replace(b"alice", b"alice smith"),
        GOOD.replace(b"alice", b"a" * 65),
        GOOD.replace(b"alice", "alicé".encode()),
        GOOD + b"\0",
        b"\0" * 65_535,
    ],
)
def test_near_misses(identity: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_identity(identity)


def test_the_message_does_not_repeat_the_peers_bytes() -> None:
    with pytest.raises(ProtocolError) as caught:
        decode_identity(b"\x1b[31mspoofed log line")
    assert "spoofed" not in str(caught.value)
    assert caught.value.__suppress_context__
