"""The strict reading of bodies, section 4."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkd_hal.errors import ProtocolError
from qkd_hal_drivers.boxlink.strict_cbor import byte_string, decode_map, encode_map

if TYPE_CHECKING:
    from tests.boxlink.conftest import Golden

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 64), (1 << 64) - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=300)
    | st.binary(max_size=300)
)
LEVEL3 = st.dictionaries(st.text(max_size=5), SCALARS, max_size=3) | st.lists(SCALARS, max_size=30)
LEVEL2 = SCALARS | st.dictionaries(st.text(max_size=5), SCALARS | LEVEL3, max_size=3)
BODIES = st.dictionaries(st.text(max_size=40), LEVEL2 | st.lists(SCALARS | LEVEL3, max_size=3))


def view(*parts: str | bytes) -> memoryview:
    whole = b"".join(bytes.fromhex(one) if isinstance(one, str) else one for one in parts)
    return memoryview(whole)


@given(BODIES)
def test_what_the_page_allows_is_read(fields: dict[str, object]) -> None:
    assert decode_map(memoryview(encode_map(fields))) == fields
    assert decode_map(memoryview(cbor2.dumps(fields, canonical=True))) == fields


@given(st.binary(max_size=200) | st.binary(max_size=40).map(lambda tail: b"\xa1\x61a" + tail))
def test_noise_raises_one_exception(raw: bytes) -> None:
    try:
        fields = decode_map(memoryview(raw))
    except ProtocolError:
        return
    assert type(fields) is dict


@given(BODIES, st.data())
def test_a_damaged_body_raises_one_exception(
    fields: dict[str, object], data: st.DataObject
) -> None:
    raw = bytearray(encode_map(fields))
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        decode_map(memoryview(raw))
    except ProtocolError:
        return


@given(BODIES)
def test_a_part_is_no_body_and_more_is_none(fields: dict[str, object]) -> None:
    raw = encode_map(fields)
    for wrong in (raw[:-1], raw + b"\0", raw + raw):
        with pytest.raises(ProtocolError):
            decode_map(memoryview(wrong))


def test_golden_refusals_are_refused(golden: Golden) -> None:
    assert len(golden.refused_bodies) == 15
    for raw in golden.refused_bodies.values():
        with pytest.raises(ProtocolError):
            decode_map(memoryview(raw))


@pytest.mark.parametrize(
    "body",
    [
        "a1 6161 1c",  # a reserved length
        "a1 6161 fa000000",  # half a float
        "a1 6161 19ff",  # half a number
        "a1 6161 f8ff",  # a simple value of two bytes
        "a1 6161 a2 6162 01 6162 02",  # a key twice, further in
        "a1 6161 a1 01 01",  # a key that is no text, further in
        "a2 6161 01 780161 02",  # a key twice, written in two ways
        "a1 6161 81818101",  # too deep a list
        "a1 6161 9bffffffffffffffff",  # more items than any body has
        "bbffffffffffffffff",  # more keys than any body has
        "a1 6161 7b7fffffffffffffff61",  # text beyond everything
        "a1 61ff 01",  # a key that is not UTF-8
        "a1 6161 c249010000000000000000",  # a big number is a tag
    ],
)
def test_each_trick_is_refused(body: str) -> None:
    with pytest.raises(ProtocolError):
        decode_map(view(body))


def test_the_third_level_is_the_last() -> None:
    assert decode_map(view("a1 6161 8181 01")) == {"a": [[1]]}
    with pytest.raises(ProtocolError, match="nested"):
        decode_map(view("a1 6161 818181 01"))


def test_key_bytes_are_found_in_place() -> None:
    body = view("a2 646e6f7465 626869 6464617461 43010203")
    found = byte_string(body, "data", instead_of="size")
    assert found is not None
    assert bytes(found) == b"\1\2\3"
    assert found.obj is body.obj  # no copy that nobody could overwrite
    assert byte_string(body, "other", instead_of="data") is None
    with pytest.raises(ProtocolError, match="note"):
        byte_string(body, "note", instead_of="size")
    with pytest.raises(ProtocolError, match="may send one"):
        byte_string(body, "data", instead_of="note")
    with pytest.raises(ProtocolError):
        byte_string(view(bytes(body), b"\0"), "data", instead_of="size")


def test_a_list_is_written_without_code_in_which_a_ctrl_c_drowns() -> None:
    called = []
    sys.setprofile(lambda frame, event, _: called.append((event, frame.f_code.co_name)))
    try:
        raw = encode_map({"suites": [1, 2], "credits": 3})
    finally:
        sys.setprofile(None)
    assert raw == cbor2.dumps({"suites": [1, 2], "credits": 3})
    assert ("call", "__instancecheck__") not in called
