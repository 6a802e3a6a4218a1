"""Packed bits: exact both ways, strict on the way in."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkd_hal.distillation.bits import pack_bits, unpack_bits
from qkd_hal.errors import ProtocolError


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
