"""Frames as the host cuts them from a byte stream."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkd_hal.errors import ProtocolError
from qkd_hal_drivers.boxlink.frame import (
    SEALED,
    FrameType,
    StreamReceiver,
    decode_frame,
    encode_frame,
    for_stream,
    header,
)

if TYPE_CHECKING:
    from tests.boxlink.conftest import Golden

LONGEST = 300
FRAMES = st.binary(min_size=1, max_size=LONGEST)


def test_golden_streams_hold_golden_frames(golden: Golden) -> None:
    receiver = StreamReceiver(8192)
    for one in golden.frames:
        assert for_stream(one.frame) == one.stream, one.name
        assert receiver.feed(one.stream) == [one.frame], one.name


def test_golden_frames_are_read(golden: Golden) -> None:
    frame = decode_frame(golden["HELLO request"].frame)
    assert (frame.kind, frame.sealed, frame.sequence, frame.operation) == (1, False, 0xFFFF, 1)
    assert frame.body == golden["HELLO request"].body
    assert decode_frame(golden["INFO request"].frame).sealed


def test_golden_refusals_are_refused(golden: Golden) -> None:
    assert len(golden.refused_frames) == 7
    for raw in golden.refused_frames.values():
        with pytest.raises(ProtocolError):
            decode_frame(raw)


@given(st.sampled_from(FrameType), st.integers(0, 65535), st.integers(0, 65535), st.binary())
def test_a_frame_is_read_as_it_was_written(
    kind: FrameType, sequence: int, operation: int, body: bytes
) -> None:
    raw = encode_frame(header(kind, SEALED, sequence, operation), body)
    frame = decode_frame(raw)
    assert frame[:4] == (kind, True, sequence, operation)
    assert (frame.header, bytes(frame.body)) == (raw[:7], body)


@given(st.binary(max_size=60))
def test_noise_raises_one_exception(raw: bytes) -> None:
    for candidate in (raw, raw + zlib.crc32(raw).to_bytes(4, "big")):
        try:
            decode_frame(candidate)
        except ProtocolError:
            continue
        assert candidate[0] == 1


@given(st.lists(FRAMES, max_size=8), st.data())
def test_a_stream_may_be_cut_anywhere(frames: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(for_stream(frame) for frame in frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    receiver = StreamReceiver(LONGEST)
    places = zip([0, *cuts], [*cuts, len(stream)], strict=True)
    got = [frame for start, end in places for frame in receiver.feed(stream[start:end])]
    assert got == frames
    assert not receiver.unfinished


@given(st.lists(FRAMES, max_size=4))
def test_a_stream_may_come_byte_by_byte(frames: list[bytes]) -> None:
    receiver = StreamReceiver(LONGEST)
    stream = b"".join(for_stream(frame) for frame in frames)
    assert [frame for byte in stream for frame in receiver.feed(bytes([byte]))] == frames


@given(st.binary(max_size=2000), FRAMES)
def test_the_frame_after_noise_is_whole(noise: bytes, frame: bytes) -> None:
    receiver = StreamReceiver(LONGEST)
    receiver.feed(noise)
    assert receiver.feed(for_stream(frame))[-1] == frame


@pytest.mark.parametrize("at_once", [1, 7, 100_000])
def test_what_is_too_long_is_skipped_and_not_stored(at_once: int) -> None:
    receiver = StreamReceiver(LONGEST)
    flood = b"\1" * 5000
    for start in range(0, len(flood), at_once):
        assert receiver.feed(flood[start : start + at_once]) == []
        assert len(receiver._rest) <= LONGEST + 2
    assert receiver.unfinished
    assert receiver.feed(b"\2x\0") == []  # the tail of what was too long is no frame
    assert receiver.feed(b"\5ne") == []
    assert receiver.feed(b"xt\0") == [b"next"]


def test_a_frame_of_the_longest_length_passes_and_a_longer_one_does_not() -> None:
    receiver = StreamReceiver(LONGEST)
    assert receiver.feed(for_stream(bytes([7]) * LONGEST)) == [bytes([7]) * LONGEST]
    assert receiver.feed(for_stream(bytes([7]) * (LONGEST + 1))) == []
    assert receiver.feed(for_stream(bytes(LONGEST + 1))) == []


def test_clearing_forgets_what_is_unfinished() -> None:
    receiver = StreamReceiver(LONGEST)
    receiver.feed(b"\5half")
    assert receiver.unfinished
    receiver.clear()
    assert not receiver.unfinished
    assert receiver.feed(b"\2x\0") == [b"x"]
