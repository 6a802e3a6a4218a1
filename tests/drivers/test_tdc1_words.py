"""Bytes of the unit's stream become times that never roll over, however they are cut."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkd_hal_drivers.tdc1._words import COUNTER_TICKS, WordReader

EVENTS = st.lists(
    st.tuples(st.integers(0, COUNTER_TICKS - 1), st.integers(0, 15), st.booleans()), max_size=40
)


def _stream(steps: list[tuple[int, int, bool]]) -> tuple[bytes, list[int], list[int]]:
    """Encode words by the written format: the bytes, the true times, the inputs."""
    tick, raw, ticks, inputs = 0, b"", [], []
    for step, pattern, dummy in steps:
        tick += step
        raw += struct.pack("<I", (tick % COUNTER_TICKS) << 5 | dummy << 4 | pattern)
        ticks.append(tick)
        inputs.append(0 if dummy else pattern)
    return raw, ticks, inputs


@given(EVENTS, st.lists(st.integers(1, 9), min_size=1))
def test_any_cut_gives_the_same_times(steps: list[tuple[int, int, bool]], cuts: list[int]) -> None:
    raw, ticks, inputs = _stream(steps)
    reader, place, got = WordReader(), 0, []
    for turn in range(len(raw)):
        size = cuts[turn % len(cuts)]
        got.append(reader.feed(raw[place : place + size]))
        place += size
    assert [int(t) for part, _ in got for t in part] == ticks
    assert [int(p) for _, part in got for p in part] == inputs


@given(EVENTS, st.binary(max_size=3))
def test_half_a_word_waits_for_its_rest(steps: list[tuple[int, int, bool]], rest: bytes) -> None:
    raw, ticks, _ = _stream(steps)
    reader = WordReader()
    assert reader.feed(raw + rest)[0].tolist() == ticks
    more, _ = reader.feed(bytes(4 - len(rest)))
    assert more.size == 1


@given(st.lists(st.binary(max_size=50)))
def test_no_bytes_make_times_fall(chunks: list[bytes]) -> None:
    reader, last = WordReader(), 0
    for chunk in chunks:
        ticks, inputs = reader.feed(chunk)
        assert (np.diff(ticks, prepend=np.int64(last)) >= 0).all()
        assert ticks.dtype == np.int64
        assert inputs.max(initial=0) <= 15
        last = int(ticks[-1]) if ticks.size else last


@pytest.mark.parametrize(
    ("raw", "tick", "inputs"),
    [
        ("01000000", 0, 1),
        ("28000000", 1, 8),
        ("30000000", 1, 0),  # a dummy
        ("ffffffff", COUNTER_TICKS - 1, 0),
        ("efffffff", COUNTER_TICKS - 1, 15),
    ],
)
def test_words_written_by_hand(raw: str, tick: int, inputs: int) -> None:
    got = WordReader().feed(bytes.fromhex(raw))
    assert (got[0].tolist(), got[1].tolist()) == ([tick], [inputs])
