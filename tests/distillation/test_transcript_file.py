"""The bytes of a recorded session: one strict reader, one error."""

from __future__ import annotations

import hashlib
import io
from contextlib import suppress

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkd_hal.distillation.transcript_file import TranscriptReader, TranscriptWriter
from qkd_hal.errors import ProtocolError

LABEL = b"qkd-hal session transcript 1"

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.binary() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
records = st.lists(
    st.dictionaries(st.text().filter(lambda name: name != "end"), values, max_size=4), max_size=4
)


def written(content: list[dict[str, object]], *, close: bool = True) -> bytes:
    out = io.BytesIO()
    writer = TranscriptWriter(out.write)
    for fields in content:
        writer.add(fields)
    if close:
        writer.close()
    return out.getvalue()


def read(raw: bytes) -> tuple[list[dict[str, object]], bool]:
    reader = TranscriptReader(io.BytesIO(raw).read)
    return list(reader), reader.complete


def sealed(body: bytes, before: bytes = LABEL) -> bytes:
    """A record whose digest fits, whatever its body is."""
    digest = hashlib.sha256(hashlib.sha256(before).digest() + body).digest()
    coded: bytes = cbor2.dumps([body, digest])
    return coded


def test_golden_bytes() -> None:
    body = bytes.fromhex("a1616101")  # {"a": 1}
    first = hashlib.sha256(hashlib.sha256(LABEL).digest() + body).digest()
    end = bytes.fromhex("a163656e6401")  # {"end": 1}
    last = hashlib.sha256(first + end).digest()
    golden = b"\x82\x44" + body + b"\x58\x20" + first + b"\x82\x46" + end + b"\x58\x20" + last
    assert written([{"a": 1}]) == golden


@given(records)
def test_what_is_written_is_read(content: list[dict[str, object]]) -> None:
    assert read(written(content)) == (content, True)


@given(records, st.data())
def test_a_cut_leaves_whole_records_and_no_end(
    content: list[dict[str, object]], data: st.DataObject
) -> None:
    raw = written(content)
    cut = data.draw(st.integers(0, len(raw) - 1))
    found, complete = read(raw[:cut])
    assert not complete
    assert found == content[: len(found)]


def test_every_cut_of_one_file() -> None:
    raw = written([{"a": b"x" * 300}, {"b": 2}])
    assert all(not read(raw[:cut])[1] for cut in range(len(raw)))


def test_every_changed_byte_shows() -> None:
    raw = written([{"a": b"xyz"}, {"b": 1.5}])
    for place in range(len(raw)):
        changed = bytearray(raw)
        changed[place] ^= 1
        with suppress(ProtocolError):  # a longer head may look like a cut
            assert not read(bytes(changed))[1]


@given(st.binary(max_size=200))
def test_noise_raises_one_error(raw: bytes) -> None:
    with suppress(ProtocolError):
        read(raw)


@given(st.binary(max_size=60))
def test_noise_with_a_fitting_digest_raises_one_error(body: bytes) -> None:
    with suppress(ProtocolError):
        read(sealed(body))


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(written([{"a": 1}]) + b"\0", id="trailing bytes"),
        pytest.param(written([{"a": 1}]) * 2, id="twice"),
        pytest.param(sealed(cbor2.dumps({"end": 1})), id="a count that is too high"),
        pytest.param(sealed(cbor2.dumps({"end": 0, "x": 0})), id="an end that says more"),
        pytest.param(sealed(cbor2.dumps([1])), id="no map"),
        pytest.param(sealed(cbor2.dumps({1: 1})), id="a name that is no text"),
        pytest.param(sealed(bytes.fromhex("a161611801")), id="not the shortest integer"),
        pytest.param(sealed(bytes.fromhex("a2616101616102")), id="a name twice"),
        pytest.param(sealed(bytes.fromhex("a1616101") + b"\0"), id="bytes after the map"),
        pytest.param(b"\x83" + written([{"a": 1}])[1:], id="an array of three"),
        pytest.param(b"\x82\x64" + written([{"a": 1}])[2:], id="a text for a body"),
        pytest.param(b"\x82\x58\x04" + written([{"a": 1}])[2:], id="a head that is too long"),
        pytest.param(b"\x82\x59\x00\xff" + bytes(300), id="a longer head that is too long"),
        pytest.param(b"\x82\x5b" + bytes(8), id="a head of eight bytes"),
        pytest.param(b"\x82\x5a\xff\xff\xff\xff", id="a record beyond the bound"),
    ],
)
def test_malformed(raw: bytes) -> None:
    with pytest.raises(ProtocolError):
        read(raw)


def test_records_out_of_order() -> None:
    one, other = written([{"a": 1}], close=False), written([{"a": 1}, {"b": 2}], close=False)
    with pytest.raises(ProtocolError):
        read(other[len(one) :] + one)


def test_a_lying_length_takes_no_memory() -> None:
    asked: list[int] = []

    def source(size: int) -> bytes:
        asked.append(size)
        return b"\x82\x5a\x08\x00\x00\x00"[sum(asked) - size : sum(asked)]

    assert list(TranscriptReader(source)) == []
    assert max(asked) <= 1 << 27


def test_a_record_beyond_the_bound_is_not_written() -> None:
    out = io.BytesIO()
    with pytest.raises(ProtocolError):
        TranscriptWriter(out.write).add({"a": bytes((1 << 27) + 1)})
    assert not out.getvalue()


def test_the_digest_stands_for_the_whole_file() -> None:
    digests = []
    for value in (1, 2):
        reader = TranscriptReader(io.BytesIO(written([{"a": value}, {"b": 0}])).read)
        list(reader)
        digests.append(reader.digest)
    assert digests[0] != digests[1]
