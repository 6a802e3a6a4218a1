"""The one-time check of a block."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from qkd_hal.link.check import block_tag, same_block


def test_the_tag_is_poly1305_of_the_number_the_size_and_the_body() -> None:
    # RFC 8439, section 2.5, in integers: written without the library that is under test.
    material = random.Random(1).randbytes(100)
    body, key = material[:-32], material[-32:]
    text = (7).to_bytes(8, "big") + (100).to_bytes(8, "big") + body
    clamp = int.from_bytes(key[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    total = 0
    for at in range(0, len(text), 16):
        piece = text[at : at + 16] + b"\x01"
        total = (total + int.from_bytes(piece, "little")) * clamp % ((1 << 130) - 5)
    expected = (total + int.from_bytes(key[16:], "little")) % (1 << 128)
    assert block_tag(7, material) == expected.to_bytes(16, "little")


@given(st.integers(0, 1 << 32).map(random.Random), st.integers(33, 300), st.data())
def test_any_difference_is_seen(source: random.Random, size: int, data: st.DataObject) -> None:
    material = source.randbytes(size)  # a device's bytes: with a key of zeros any tag fits
    tag = block_tag(3, material)
    assert same_block(3, bytearray(material), tag)
    assert not same_block(4, material, tag)
    other = bytearray(material)
    # Poly1305 clamps 22 bits of its key: only the body and the pad are compared to the bit.
    at = data.draw(
        st.sampled_from([*range(len(material) - 32), *range(len(material) - 16, len(material))])
    )
    other[at] ^= data.draw(st.integers(1, 255))
    assert not same_block(3, other, tag)
