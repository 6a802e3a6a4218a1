"""The codec of the quantum channel: whole, cut, padded, fuzzed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qkd_hal.errors import ProtocolError
from qkd_hal_simulators.physics.frame import MAX_FRAME_PULSES, PhotonFrame

GOLDEN = bytes.fromhex(
    "51504631 0000000000000005 00000008 00000003 01"  # header: from pulse 5, 8 pulses, 3 lit
    "00 03 04"  # lit: 0, 3, 7
    "04 07 0a"  # one photon X0, one photon Z1, two photons Z0
)


@st.composite
def frames(draw: st.DrawFn) -> PhotonFrame:
    count = draw(st.sampled_from([1, 2, 300, 70_000, MAX_FRAME_PULSES]))
    lit = sorted(draw(st.sets(st.integers(0, count - 1), max_size=20)))
    states = draw(st.lists(st.integers(4, 63), min_size=len(lit), max_size=len(lit)))
    first = draw(st.integers(0, (1 << 63) - 1 - MAX_FRAME_PULSES))
    return PhotonFrame(first, count, np.array(lit, np.int64), np.array(states, np.uint8))


def same(left: PhotonFrame, right: PhotonFrame) -> bool:
    numbers = (left.first_pulse, left.pulse_count) == (right.first_pulse, right.pulse_count)
    arrays = np.array_equal(left.lit, right.lit) and np.array_equal(left.states, right.states)
    return numbers and arrays


def test_golden_bytes() -> None:
    frame = PhotonFrame(5, 8, np.array([0, 3, 7]), np.array([4, 7, 10], np.uint8))
    assert frame.to_bytes() == GOLDEN
    assert same(PhotonFrame.from_bytes(GOLDEN), frame)
    assert frame.photons.tolist() == [1, 1, 2]
    assert frame.bases.tolist() == [0, 1, 1]
    assert frame.bits.tolist() == [0, 1, 0]


@given(frames())
@settings(deadline=None)
def test_a_frame_survives_the_wire(frame: PhotonFrame) -> None:
    assert same(PhotonFrame.from_bytes(frame.to_bytes()), frame)


@given(frames(), st.data())
@settings(deadline=None)
def test_a_cut_or_padded_frame_is_refused(frame: PhotonFrame, data: st.DataObject) -> None:
    raw = frame.to_bytes()
    cut = data.draw(st.integers(0, len(raw) - 1))
    for bad in (raw[:cut], raw + b"\0"):
        with pytest.raises(ProtocolError):
            PhotonFrame.from_bytes(bad)


def test_golden_frame_is_refused_at_every_cut() -> None:
    for cut in range(len(GOLDEN)):
        with pytest.raises(ProtocolError):
            PhotonFrame.from_bytes(GOLDEN[:cut])


@pytest.mark.parametrize(
    ("offset", "value"),
    [
        (0, b"X"),  # magic
        (4, b"\x80"),  # first pulse beyond int64
        (12, b"\x00\x00\x00\x00"),  # no pulses
        (12, b"\x00\x00\x00\x02"),  # fewer pulses than lit ones
        (12, b"\x00\x40\x00\x01"),  # more pulses than a frame may have
        (20, b"\x03"),  # gap width
        (22, b"\x00"),  # the same pulse twice
        (23, b"\x05"),  # a pulse behind the frame's end
        (24, b"\x03"),  # a lit pulse without photons
        (24, b"\x40"),  # more photons than we count
    ],
)
def test_impossible_frames_are_refused(offset: int, value: bytes) -> None:
    bad = GOLDEN[:offset] + value + GOLDEN[offset + len(value) :]
    with pytest.raises(ProtocolError):
        PhotonFrame.from_bytes(bad)


@given(st.binary(max_size=64))
@settings(deadline=None)
def test_noise_raises_one_exception_type(raw: bytes) -> None:
    for candidate in (raw, GOLDEN[:21] + raw):
        try:
            frame = PhotonFrame.from_bytes(candidate)
        except ProtocolError:
            continue
        assert same(PhotonFrame.from_bytes(frame.to_bytes()), frame)
