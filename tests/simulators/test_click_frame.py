"""The codec of sampled clicks: whole, cut, padded, fuzzed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qkd_hal.errors import ProtocolError
from qkd_hal_simulators.physics.click_frame import MAX_CLICKS, MAX_SPAN, ClickFrame
from qkd_hal_simulators.physics.clicks import Clicks

GOLDEN = bytes.fromhex(
    "51504331 0000000000000005 0000000000000400 00000003 02"  # from pulse 5, 1024 pulses, 3 clicks
    "0000 0300 e803"  # indices 0, 3, 1003
    "01 06 07"  # bit 0 in X, bit 1 in Z, both in Z
)


@st.composite
def frames(draw: st.DrawFn) -> ClickFrame:
    span = draw(st.sampled_from([1, 2, 300, 70_000, 1 << 33, MAX_SPAN]))
    first = draw(st.integers(0, (1 << 62) - span))
    indices = sorted(draw(st.sets(st.integers(0, span - 1), max_size=20)))
    size = len(indices)
    bases = draw(st.lists(st.integers(0, 1), min_size=size, max_size=size))
    patterns = draw(st.lists(st.integers(1, 3), min_size=size, max_size=size))
    pulses = np.array(indices, np.int64) + first
    return ClickFrame(
        first, span, Clicks(pulses, np.array(bases, np.uint8), np.array(patterns, np.uint8))
    )


def same(left: ClickFrame, right: ClickFrame) -> bool:
    numbers = (left.first_pulse, left.pulse_count) == (right.first_pulse, right.pulse_count)
    pairs = (
        (getattr(left.clicks, name), getattr(right.clicks, name))
        for name in ("pulses", "bases", "patterns")
    )
    return numbers and all(np.array_equal(*pair) for pair in pairs)


def test_golden_bytes() -> None:
    clicks = Clicks(
        np.array([5, 8, 1008]), np.array([0, 1, 1], np.uint8), np.array([1, 2, 3], np.uint8)
    )
    frame = ClickFrame(5, 1024, clicks)
    assert frame.to_bytes() == GOLDEN
    assert same(ClickFrame.from_bytes(GOLDEN), frame)


@given(frames())
@settings(deadline=None)
def test_a_frame_survives_the_wire(frame: ClickFrame) -> None:
    assert same(ClickFrame.from_bytes(frame.to_bytes()), frame)


@given(frames(), st.data())
@settings(deadline=None)
def test_a_cut_or_padded_frame_is_refused(frame: ClickFrame, data: st.DataObject) -> None:
    raw = frame.to_bytes()
    cut = data.draw(st.integers(0, len(raw) - 1))
    for bad in (raw[:cut], raw + b"\0"):
        with pytest.raises(ProtocolError):
            ClickFrame.from_bytes(bad)


def test_golden_frame_is_refused_at_every_cut() -> None:
    for cut in range(len(GOLDEN)):
        with pytest.raises(ProtocolError):
            ClickFrame.from_bytes(GOLDEN[:cut])


@pytest.mark.parametrize(
    ("offset", "value"),
    [
        (0, b"X"),  # magic
        (4, b"\x40"),  # first pulse beyond 2^62
        (12, bytes(8)),  # no pulses
        (12, bytes(7) + b"\x02"),  # fewer pulses than clicks
        (12, b"\x00\x00\x04\x00\x00\x00\x00\x01"),  # more pulses than a frame may span
        (24, b"\x03"),  # gap width
        (27, b"\x00"),  # the same pulse twice
        (29, b"\xfd\x03"),  # a pulse behind the frame's end
        (31, b"\x00"),  # a click of no detector
        (33, b"\x08"),  # a basis that is none
    ],
)
def test_impossible_frames_are_refused(offset: int, value: bytes) -> None:
    bad = GOLDEN[:offset] + value + GOLDEN[offset + len(value) :]
    with pytest.raises(ProtocolError):
        ClickFrame.from_bytes(bad)


def test_gaps_that_would_overflow_are_refused() -> None:
    head = GOLDEN[:20] + (2).to_bytes(4, "big") + b"\x08"
    gaps = np.array([3, (1 << 64) - 2], "<u8").tobytes()
    with pytest.raises(ProtocolError, match="rise"):
        ClickFrame.from_bytes(head + gaps + b"\x01\x01")


def test_a_frame_of_too_many_clicks_is_refused() -> None:
    count = MAX_CLICKS + 1
    head = GOLDEN[:12] + (1 << 40).to_bytes(8, "big") + count.to_bytes(4, "big") + b"\x01"
    with pytest.raises(ProtocolError, match="out of bounds"):
        ClickFrame.from_bytes(head + b"\x01" * (2 * count))


@given(st.binary(max_size=64))
@settings(deadline=None)
def test_noise_raises_one_exception_type(raw: bytes) -> None:
    for candidate in (raw, GOLDEN[:25] + raw):
        try:
            frame = ClickFrame.from_bytes(candidate)
        except ProtocolError:
            continue
        assert same(ClickFrame.from_bytes(frame.to_bytes()), frame)
