"""Packed bits and gaps: exact both ways, strict on the way in."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkd_hal.distillation.bits import pack_bits, pack_gaps, unpack_bits, unpack_gaps
from qkd_hal.errors import ProtocolError

RISING = st.lists(st.integers(0, 2**34), max_size=40, unique=True).map(sorted)


@given(st.lists(st.integers(0, 1), max_size=70))
def test_bits_come_back(bits: list[int]) -> None:
    packed = pack_bits(np.array(bits, np.uint8))
    assert unpack_bits(packed, len(bits)).tolist() == bits


def test_bit_order_on_the_wire() -> None:
    assert pack_bits(np.array([1, 0, 0, 0, 0, 0, 0, 1, 1], np.uint8)) == b"\x81\x80"


@pytest.mark.parametrize(("packed", "count"), [(b"", 1), (b"\0\0", 8), (b"\x01", 7), (b"\0", 9)])
def test_bits_of_another_length_are_refused(packed: bytes, count: int) -> None:
    with pytest.raises(ProtocolError):
        unpack_bits(packed, count)


@given(RISING, st.integers(0, 1000))
def test_pulses_come_back(offsets: list[int], first: int) -> None:
    pulses = np.array(offsets, np.int64) + first
    assert (unpack_gaps(pack_gaps(pulses, first), len(pulses), first) == pulses).all()


def test_gaps_on_the_wire() -> None:
    coded = pack_gaps(np.array([5, 6, 7 + 128, 136 + 128**2], np.int64), 5)
    assert coded == bytes([0, 0, 0x80, 0x01, 0x80, 0x80, 0x01])


@pytest.mark.parametrize(
    ("coded", "count"),
    [
        (b"\x05", 2),  # too few
        (b"\x05\x05", 1),  # too many
        (b"\x05\x85", 1),  # unfinished
        (b"\x85\x00", 1),  # padded
        (b"\xff\xff\xff\xff\xff\x01", 1),  # overlong
        (b"", 1),
    ],
)
def test_malformed_gaps_are_refused(coded: bytes, count: int) -> None:
    with pytest.raises(ProtocolError):
        unpack_gaps(coded, count, 0)


@given(st.binary(max_size=40), st.integers(0, 40))
def test_any_gaps_rise_or_are_refused(coded: bytes, count: int) -> None:
    try:
        pulses = unpack_gaps(coded, count, 3)
    except ProtocolError:
        return
    assert pack_gaps(pulses, 3) == coded
    assert len(pulses) == count
    assert (np.diff(pulses, prepend=2) > 0).all()
