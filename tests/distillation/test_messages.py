"""The message codec: whole, cut short, byte by byte, with trailing bytes, and golden."""

from contextlib import suppress
from dataclasses import fields, replace
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkd_hal.distillation.messages import (
    MAX_NUMBER,
    NO_SESSION,
    Corrected,
    Detections,
    Estimate,
    Frame,
    Hello,
    Message,
    ParityReply,
    decode,
    encode,
)
from qkd_hal.errors import ProtocolError

OCTETS16 = {"nonce", "echo", "seed", "hash_seed", "hash", "tag"}
LIMITS = {"role": 0xFF, "in_flight": 0xFF, "count": 2**32 - 1, "offset": 2**32 - 1}


def messages_of(kind: type[Message]) -> st.SearchStrategy[Message]:
    """Build messages of *kind* from the field names alone, apart from the codec's table."""

    def value(name: str, annotation: str) -> st.SearchStrategy[int | bytes]:
        if name in OCTETS16:
            return st.binary(min_size=16, max_size=16)
        if name == "parameters":
            return st.binary(min_size=32, max_size=32)
        if annotation.startswith("U"):
            return st.integers(0, LIMITS.get(name, MAX_NUMBER))
        return st.binary(max_size=20)

    return st.builds(kind, *[value(field.name, str(field.type)) for field in fields(kind)])


FRAMES = st.builds(
    Frame,
    st.binary(min_size=8, max_size=8),
    st.integers(0, 2**32 - 1),
    st.integers(0, MAX_NUMBER),
    st.one_of([messages_of(kind) for kind in get_args(Message)]),
)


@given(FRAMES)
def test_frames_come_back(frame: Frame) -> None:
    assert decode(encode(frame)) == frame


@given(FRAMES)
def test_every_cut_is_refused(frame: Frame) -> None:
    raw = encode(frame)
    for size in range(len(raw)):
        with pytest.raises(ProtocolError):
            decode(raw[:size])


@given(FRAMES, st.binary(min_size=1, max_size=4))
def test_trailing_bytes_are_refused(frame: Frame, extra: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode(encode(frame) + extra)


@given(st.binary(max_size=80))
def test_noise_is_refused_or_canonical(raw: bytes) -> None:
    try:
        frame = decode(raw)
    except ProtocolError:
        return
    assert encode(frame) == raw


@given(FRAMES, st.integers(0, 200), st.integers(1, 255))
def test_a_changed_byte_raises_nothing_else(frame: Frame, at: int, mask: int) -> None:
    raw = bytearray(encode(frame))
    raw[at % len(raw)] ^= mask
    with suppress(ProtocolError):
        decode(bytes(raw))


def test_golden_bytes() -> None:
    frame = Frame(b"sessions", 7, 3, ParityReply(9, b"\xaa\x80"))
    expected = "02 06 73657373696f6e73 00000007 0000000000000003 00000009 00000002 aa80"
    assert encode(frame) == bytes.fromhex(expected)
    frame = Frame(b"sessions", 2, 3, Detections(4, 260, 2, b"\x01\x02", b"\x40"))
    numbers = "0000000000000003 0000000000000004 0000000000000104 00000002"
    expected = f"02 02 73657373696f6e73 00000002 {numbers} 00000002 0102 00000001 40"
    assert encode(frame) == bytes.fromhex(expected)


@pytest.mark.parametrize("head", ["00 07", "01 07", "02 00", "02 0c", "02 ff"])
def test_other_versions_and_kinds_are_refused(head: str) -> None:
    with pytest.raises(ProtocolError):
        decode(bytes.fromhex(head) + bytes(20))


@pytest.mark.parametrize("at", [14, 22])
def test_numbers_beyond_int64_sums_are_refused(at: int) -> None:
    raw = bytearray(encode(Frame(NO_SESSION, 0, 0, Detections(1, 2, 3, b"", b""))))
    raw[at] = 0x40
    with pytest.raises(ProtocolError, match="range"):
        decode(bytes(raw))


def test_a_blob_longer_than_the_message_is_refused() -> None:
    raw = bytearray(encode(Frame(NO_SESSION, 0, 0, Estimate(b"ab", b""))))
    raw[22:26] = b"\xff\xff\xff\xff"
    with pytest.raises(ProtocolError):
        decode(bytes(raw))


def test_the_core_of_a_hello_leaves_the_echo_out() -> None:
    nonce, digest = b"n" * 16, b"p" * 32
    one, two = (Hello(1, 6, 2, 3, 4, 5, nonce, digest, echo * 16) for echo in (b"a", b"b"))
    assert one.core == two.core
    assert one.core.endswith(nonce + digest)
    for other in (Hello(2, 6, 2, 3, 4, 5, nonce, digest, bytes(16)), replace(one, in_flight=5)):
        assert other.core != one.core


def test_a_message_without_fields() -> None:
    assert decode(encode(Frame(b"sessions", 1, 2, Corrected()))).message == Corrected()
