"""The codec: one form per message, one exception for everything else."""

from __future__ import annotations

import cbor2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qkd_hal.errors import ProtocolError
from qkd_hal.key_ids import MAX_BLOCK
from qkd_hal.keys import KeyId, KeyRef, Origin, Provenance
from qkd_hal.link import decode, encode
from qkd_hal.link.messages import (
    MAX_MESSAGE,
    Hello,
    Inventory,
    Lease,
    Leased,
    Marks,
    Message,
    Offer,
    Refused,
    Release,
    Released,
    Report,
    Stored,
    Void,
)
from qkd_hal.link.records import CHECK_SIZE, MAX_BLOCK_SIZE, MAX_BLOCKS

NAMES = st.from_regex(r"[A-Za-z0-9._-]{0,20}[A-Za-z0-9]", fullmatch=True)
NUMBERS = st.integers(1, MAX_BLOCK)
FLOORS = st.integers(0, MAX_BLOCK)
SIZES = st.integers(CHECK_SIZE + 1, MAX_BLOCK_SIZE)
MARKS = st.integers(0, MAX_BLOCK_SIZE - CHECK_SIZE)
COUNTS = st.integers(0, (1 << 63) - 1)
EPOCHS = st.binary(min_size=16, max_size=16)
REFS = st.builds(KeyRef, NAMES, st.builds(KeyId.from_bytes, EPOCHS))
PROVENANCES = st.builds(
    Provenance, st.sampled_from(Origin), st.lists(NAMES, max_size=16).map(tuple)
)


def _rows(*columns: st.SearchStrategy[int]) -> st.SearchStrategy[tuple[tuple[int, ...], ...]]:
    rows = st.lists(st.tuples(*columns), max_size=5, unique_by=lambda row: row[0])
    return rows.map(lambda found: tuple(sorted(found)))


MESSAGES: st.SearchStrategy[Message] = st.one_of(
    st.builds(Hello, NAMES, EPOCHS, st.one_of(st.just(b""), EPOCHS), FLOORS, COUNTS, COUNTS),
    st.builds(Inventory, st.booleans(), FLOORS, _rows(NUMBERS, SIZES, MARKS)),
    st.builds(Marks, st.booleans(), _rows(NUMBERS, MARKS)),
    st.builds(Offer, NUMBERS, SIZES, REFS, PROVENANCES, EPOCHS),
    st.builds(Stored, NUMBERS, PROVENANCES),
    st.builds(Refused, NUMBERS, st.from_regex(r"[a-z-]{1,32}", fullmatch=True)),
    st.builds(Lease, EPOCHS, NUMBERS, MARKS, MARKS, COUNTS),
    st.builds(Leased, EPOCHS, NUMBERS, MARKS, MARKS, COUNTS),
    st.builds(Release, NUMBERS, MARKS),
    st.builds(Released, NUMBERS, MARKS),
    st.builds(Void, NUMBERS),
    st.builds(Report, COUNTS, COUNTS),
)


@given(MESSAGES)
def test_what_is_encoded_decodes_to_the_same(message: Message) -> None:
    assert decode(encode(message)) == message


def test_golden_bytes_of_a_lease() -> None:
    # By hand from RFC 8949: array of 6; 7; 16 bytes; 258; 0; 0x4000; 32.
    raw = (
        bytes.fromhex("8607") + b"\x50" + bytes(range(16)) + bytes.fromhex("190102 00 194000 1820")
    )
    assert encode(Lease(bytes(range(16)), 258, 0, 0x4000, 32)) == raw
    assert decode(raw) == Lease(bytes(range(16)), 258, 0, 0x4000, 32)


@given(st.binary(max_size=200))
@example(b"")
@example(b"\x81" * 20_000)
@example(b"\x9f")
@example(b"\x9b" + b"\xff" * 8)
@example(b"\xc0\x61a")
@example(cbor2.dumps([11.0, 1]))
@example(cbor2.dumps([True, 1]))
@example(cbor2.dumps([[], 1]))
@example(cbor2.dumps({"a": 1}))
def test_noise_raises_protocol_error_only(raw: bytes) -> None:
    try:
        message = decode(raw)
    except ProtocolError:
        return
    assert encode(message) == raw


@given(MESSAGES, st.data())
def test_a_changed_message_is_refused_or_is_another_message(
    message: Message, data: st.DataObject
) -> None:
    raw = bytearray(encode(message))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        other = decode(bytes(raw))
    except ProtocolError:
        return
    assert other != message


@given(MESSAGES)
def test_every_prefix_and_every_trailing_byte_is_refused(message: Message) -> None:
    raw = encode(message)
    for cut in range(len(raw)):
        with pytest.raises(ProtocolError):
            decode(raw[:cut])
    with pytest.raises(ProtocolError):
        decode(raw + b"\x00")


@given(MESSAGES, st.data())
def test_a_field_of_another_type_is_refused(message: Message, data: st.DataObject) -> None:
    values = cbor2.loads(encode(message))
    at = data.draw(st.integers(1, len(values) - 1))
    values[at] = data.draw(st.sampled_from([None, 1.5, -1, {"a": 1}, [[None]], ["x"], 1 << 64]))
    with pytest.raises(ProtocolError):
        decode(cbor2.dumps(values))


@pytest.mark.parametrize(
    "fields",
    [
        [99],
        [11],
        [11, 1, 1],
        [11, 0],
        [11, MAX_BLOCK + 1],
        [11, True],
        [9, 1, MAX_BLOCK_SIZE - CHECK_SIZE + 1],
        [1, "no spaces", bytes(16), b"", 0, 0, 0],
        [1, "a", bytes(15), b"", 0, 0, 0],
        [1, "a", bytes(16), bytes(8), 0, 0, 0],
        [2, True, 0, [[2, 64, 0], [1, 64, 0]]],
        [2, True, 0, [[1, 64, 0], [1, 64, 0]]],
        [2, True, 0, [[1, CHECK_SIZE, 0]]],
        [2, 1, 0, []],
        [3, True, [[number, 0] for number in range(1, MAX_BLOCKS + 2)]],
        [4, 1, 64, ["a", bytes(16)], ["magic"], bytes(16)],
        [4, 1, 64, ["a", bytes(16)], [], bytes(16)],
        [4, 1, 64, ["a", bytes(16)], ["hardware", *["relay"] * 17], bytes(16)],
        [4, 1, 64, ["a", bytes(16), 1], ["hardware"], bytes(16)],
        [4, 1, 64, ["a", bytes(16)], ["hardware"], bytes(15)],
        [6, 1, "x" * 33],
        [6, 1, "ü"],
    ],
)
def test_values_out_of_range_are_refused(fields: list[object]) -> None:
    with pytest.raises(ProtocolError):
        decode(cbor2.dumps(fields))


def test_a_shorter_spelling_of_the_same_message_is_refused() -> None:
    assert decode(b"\x82\x0b\x01") == Void(1)
    with pytest.raises(ProtocolError, match="canonical"):
        decode(b"\x82\x0b\x18\x01")


def test_the_largest_inventory_fits_and_anything_longer_is_not_parsed() -> None:
    rows = tuple(
        (MAX_BLOCK - at, MAX_BLOCK_SIZE, MAX_BLOCK_SIZE - CHECK_SIZE)
        for at in reversed(range(MAX_BLOCKS))
    )
    raw = encode(Inventory(True, MAX_BLOCK, rows))
    assert len(raw) <= MAX_MESSAGE
    assert decode(raw) == Inventory(True, MAX_BLOCK, rows)
    with pytest.raises(ProtocolError, match="limit"):
        decode(bytes(MAX_MESSAGE + 1))
