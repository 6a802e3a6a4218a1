"""Whatever comes down the line: no exception leaves the box, and no memory is taken for it."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cbor2
import pytest
from hypothesis import example, given, settings, strategies

from qkd_hal_firmware_mocks.boxlink import BoxFirmware, BoxLine, BoxPair
from qkd_hal_firmware_mocks.boxlink.byte_line import PieceReader, to_line
from qkd_hal_firmware_mocks.boxlink.cbor import MalformedError, encode, read_map
from qkd_hal_firmware_mocks.boxlink.pair import make_settings
from tests.firmware_mocks.box_host import CODES, CREDIT, ERR, REQ, RSP, Host, finish, hello

if TYPE_CHECKING:
    from collections.abc import Iterator

PSK = bytes(range(32))
GOLDEN = json.loads((Path(__file__).parents[2] / "docs" / "boxlink-vectors.json").read_text())
FRAMES = [bytes.fromhex(row["frame"]) for row in GOLDEN["frames"]]
LIMIT = 8192
relaxed = settings(deadline=None)  # a busy machine is no fault

frames = strategies.binary(min_size=1, max_size=600)
scalars = (
    strategies.booleans()
    | strategies.none()
    | strategies.integers(-(2**64), 2**64 - 1)
    | strategies.floats(allow_nan=False)
    | strategies.binary(max_size=20)
    | strategies.text(max_size=20)
)
lists = strategies.lists(scalars, max_size=3)
names = strategies.text(max_size=30)
bodies = strategies.dictionaries(
    names, scalars | lists | strategies.dictionaries(names, scalars | lists, max_size=3), max_size=5
)


@contextlib.contextmanager
def opened() -> Iterator[tuple[BoxFirmware, Host]]:
    with BoxPair(make_settings((PSK, PSK)), stored=1 << 16, seed=1) as pair:
        host = Host(pair.alice.feed, PSK, "bob")
        host.open()
        yield pair.alice, host


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


@relaxed
@given(strategies.lists(frames, max_size=5), strategies.lists(strategies.integers(0), max_size=9))
def test_frames_come_through_however_the_line_cuts_them(sent: list[bytes], at: list[int]) -> None:
    line = b"".join(map(to_line, sent)) + b"\0\0trailing"
    pieces = cut(line, at)
    by_cuts, by_bytes = PieceReader(LIMIT), PieceReader(LIMIT)
    assert [frame for piece in pieces for frame in by_cuts.feed(piece)] == sent
    assert [frame for byte in line for frame in by_bytes.feed(bytes([byte]))] == sent


@relaxed
@given(strategies.binary(max_size=300), frames)
def test_noise_costs_no_frame_behind_it(noise: bytes, frame: bytes) -> None:
    assert list(PieceReader(LIMIT).feed(noise + to_line(frame)))[-1] == frame


def test_a_line_without_end_takes_no_memory() -> None:
    reader = PieceReader(LIMIT)
    for _ in range(1000):
        assert list(reader.feed(b"x" * 4096)) == []
        assert len(reader._piece) <= LIMIT + LIMIT // 254 + 1
    assert list(reader.feed(to_line(b"next"))) == [b"next"]


@pytest.mark.parametrize("value", [0, 255])
def test_the_longest_frame_fits_and_one_more_byte_does_not(value: int) -> None:
    longest = bytes([value]) * LIMIT
    assert list(PieceReader(LIMIT).feed(to_line(longest))) == [longest]
    assert list(PieceReader(LIMIT).feed(to_line(longest + b"xxxxx"))) == []


def test_an_unfinished_piece_is_dropped_after_a_pause() -> None:
    now = [0.0]
    reader = PieceReader(LIMIT, lambda: now[0])
    sent = to_line(b"a frame")
    for pause, found in ((0.4, [b"a frame"]), (0.6, [])):
        list(reader.feed(sent[:4]))
        now[0] += pause
        assert list(reader.feed(sent[4:-1])) == []
        assert list(reader.feed(sent[-1:])) == found


@relaxed
@given(strategies.binary(max_size=200))
@example(b"\xa1\x61a" + b"\x81" * 100)
@example(b"\xbb" + b"\xff" * 8)
def test_any_body_is_read_or_malformed(body: bytes) -> None:
    try:
        value = read_map(body)
    except MalformedError:
        return
    assert cbor2.loads(body) == value or "nan" in repr(value)


@relaxed
@given(bodies)
def test_good_bodies_are_read_as_a_library_reads_them(value: dict[str, Any]) -> None:
    body = encode(value)
    assert read_map(body) == cbor2.loads(body)
    for end in range(len(body)):
        with pytest.raises(MalformedError):
            read_map(body[:end])
    with pytest.raises(MalformedError):
        read_map(body + b"\0")


@relaxed
@given(strategies.sampled_from(FRAMES), strategies.data())
def test_spoilt_frames_leave_the_box_alive(frame: bytes, data: strategies.DataObject) -> None:
    with opened() as (box, host):
        spoilt = bytearray(frame)
        for _ in range(data.draw(strategies.integers(1, 4))):
            spoilt[data.draw(strategies.integers(0, len(spoilt) - 1))] = data.draw(
                strategies.integers(0, 255)
            )
        box.feed(bytes(spoilt))
        box.feed(finish(bytes(spoilt[:-4]), b""))
        host.do("INFO")


@settings(max_examples=200, deadline=None)
@given(
    strategies.sampled_from([*CODES.values(), 0x99]),
    strategies.sampled_from([REQ, CREDIT]),
    strategies.binary(max_size=60) | bodies.map(encode),
)
def test_any_sealed_body_is_answered(operation: int, kind: int, body: bytes) -> None:
    with opened() as (box, host):
        answers = host.read_all(box.feed(host.seal(kind, 5, operation, body)))
        assert all(each[0] in (RSP, ERR) for each in answers)
        assert len(answers) == 1 or kind == CREDIT
        if operation != CODES["BYE"] or answers[0][0] == ERR:
            host.do("INFO")


@relaxed
@given(bodies, strategies.sampled_from(["HELLO", "AUTH"]))
def test_any_clear_opening_is_answered(changes: dict[str, Any], operation: str) -> None:
    with opened() as (box, host):
        body = encode(hello() | changes if operation == "HELLO" else changes)
        head = bytes([1, REQ, 0, 0, 1, 0, CODES[operation]])
        (answer,) = box.feed(finish(head, body))
        assert answer[1] in (RSP, ERR)
        host.do("INFO")


def test_a_flood_of_noise_leaves_the_box_alive() -> None:
    with opened() as (box, host):
        line, sent = BoxLine(box), bytearray()
        line.attach(sent.extend)
        line.feed(os.urandom(1 << 18))
        line.hang_up()
        line.feed(to_line(host.request("INFO")))
        answers = list(PieceReader(LIMIT).feed(bytes(sent)))
        assert host.read_all(answers[-1:])[0][0] == RSP
