"""The code of sparse patterns: exact, one code for each list, near the entropy, strict."""

from __future__ import annotations

import math
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from qkd_hal.distillation import detection_codec
from qkd_hal.distillation.detection_codec import (
    pack_pattern,
    pack_pulses,
    unpack_pattern,
    unpack_pulses,
)
from qkd_hal.errors import ProtocolError

MAX_NUMBER = (1 << 62) - 1
RISING = st.one_of(
    st.lists(st.integers(0, 300), max_size=60, unique=True).map(sorted),
    st.lists(st.integers(0, 2**40), max_size=40, unique=True).map(sorted),
    st.lists(st.integers(0, MAX_NUMBER - 2000), max_size=9, unique=True).map(sorted),
)


def plain_code(pulses: list[int], first: int, k: int | None = None) -> bytes:
    """Code as the documentation says, bit by bit, with the parameter found by trying all."""
    if not pulses:
        return b""
    gaps = [b - a - 1 for a, b in zip([first - 1, *pulses], pulses, strict=False)]
    if k is None:
        k = min(range(62), key=lambda k: len(gaps) * (k + 1) + sum(gap >> k for gap in gaps))
    low = b"".join((gap % 256 ** (k // 8)).to_bytes(k // 8, "little") for gap in gaps)
    planes = [[gap >> bit & 1 for gap in gaps] for bit in range(k // 8 * 8, k)]
    unary = [bit for gap in gaps for bit in [0] * (gap >> k) + [1]]
    return bytes([k]) + low + b"".join(plain_bits(plane) for plane in [*planes, unary])


def plain_bits(bits: list[int]) -> bytes:
    padded = "".join(map(str, bits)).ljust(-(-len(bits) // 8) * 8, "0")
    return bytes(int(padded[at : at + 8], 2) for at in range(0, len(padded), 8))


def entropy(p: float) -> float:
    return -p * math.log2(p) - (1 - p) * math.log2(1 - p)


def clicks(p: float, count: int, seed: int = 1) -> NDArray[np.int64]:
    gaps: NDArray[np.int64] = np.random.default_rng(seed).geometric(p, count)
    return np.cumsum(gaps) - 1


@given(RISING, st.integers(0, 1000))
def test_pulses_come_back(offsets: list[int], first: int) -> None:
    pulses = np.array(offsets, np.int64) + first
    end = int(pulses[-1]) + 1 if offsets else first
    coded = pack_pulses(pulses, first)
    assert unpack_pulses(coded, len(pulses), first, end).tolist() == pulses.tolist()


@given(RISING, st.integers(0, 1000))
def test_the_code_is_the_documented_one(offsets: list[int], first: int) -> None:
    pulses = [first + offset for offset in offsets]
    assert pack_pulses(np.array(pulses, np.int64), first) == plain_code(pulses, first)


def test_golden_bytes() -> None:
    # gaps 0, 0, 3, 1: k = 0, unary 1 1 0001 01
    assert pack_pulses(np.array([5, 6, 10, 12]), 5) == bytes.fromhex("00 c5")
    # gaps 1000, 600, 2000: k = 10 = 8 + 2; low bytes e8 58 d0; bit 8 of each is 1 0 1, bit 9
    # is 1 1 1; quotients 0, 0, 1
    assert pack_pulses(np.array([1000, 1601, 3602]), 0) == bytes.fromhex("0a e858d0 a0 e0 d0")
    # bases 0 0 1 0 0 0: the ones, one of them; gap 2 is 001
    assert pack_pattern(np.array([0, 0, 1, 0, 0, 0], np.uint8)) == bytes.fromhex("01 00000001 0020")
    assert pack_pattern(np.array([1, 1, 0], np.uint8)) == bytes.fromhex("00 00000001 0020")
    assert pack_pattern(np.zeros(9, np.uint8)) == bytes.fromhex("01 00000000")


@pytest.mark.parametrize("p", [0.1, 3e-2, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6])
def test_clicks_cost_their_entropy(p: float) -> None:
    """Within 3 % of what any code needs on average, header included."""
    count = 100_000
    bits = 8 * len(pack_pulses(clicks(p, count), 0))
    assert bits * p / (count * entropy(p)) < 1.03


@pytest.mark.parametrize(
    ("p", "excess"), [(0.5, 1.001), (0.38, 1.045), (0.25, 1.03), (0.22, 1.035), (0.1, 1.03)]
)
def test_a_biased_choice_costs_its_entropy(p: float, excess: float) -> None:
    count = 200_000
    ones = np.random.default_rng(2).random(count) < p
    for symbols in (ones, ~ones):
        assert 8 * len(pack_pattern(symbols)) < excess * count * entropy(p)


@given(st.lists(st.booleans(), max_size=100))
def test_patterns_come_back_and_are_hardly_longer_than_plain_bits(symbols: list[bool]) -> None:
    coded = pack_pattern(np.array(symbols, bool))
    assert unpack_pattern(coded, len(symbols)).tolist() == symbols
    padding = 7  # of each part
    assert len(coded) <= 6 + -(-len(symbols) // 8) + padding


@pytest.mark.parametrize(
    ("coded", "count", "end"),
    [
        ("", 1, 100),  # no parameter
        ("00", 1, 100),  # no unary part
        ("00 c5", 0, 100),  # bytes for nothing
        ("00 c5", 3, 100),  # too many
        ("00 c5", 5, 100),  # too few
        ("00 c5 00", 4, 100),  # padded
        ("00 c5", 4, 7),  # beyond the end
        ("0a e858d0 a0 e0 d0", 3, 3602),  # beyond the end by the low bits
        ("0a e858d0 b0 e0 d0", 3, 4000),  # padding of a plane
        ("0a e858d0 a0 e0", 3, 4000),
        ("01 0a 5a", 4, 100),  # gaps of "00 c5" with another parameter
        ("3e" + "00" * 20, 1, MAX_NUMBER),  # a parameter that no list has
        ("ff" + "00" * 69 + "c0", 2, MAX_NUMBER),
        ("0a e858d0 a0 e0 d0", 2**23, MAX_NUMBER),  # a count that lies
    ],
)
def test_malformed_lists_are_refused(coded: str, count: int, end: int) -> None:
    with pytest.raises(ProtocolError):
        unpack_pulses(bytes.fromhex(coded), count, 0, end)


@pytest.mark.parametrize("k", [0, 1, 3, 4, 8])
def test_another_parameter_is_refused(k: int) -> None:
    pulses = [3, 20, 21, 30]
    assert pack_pulses(np.array(pulses), 0) == plain_code(pulses, 0, 2)
    with pytest.raises(ProtocolError, match="shortest"):
        unpack_pulses(plain_code(pulses, 0, k), 4, 0, 100)


def test_a_quotient_that_overflows_is_refused() -> None:
    coded = plain_code([3 << 60], 0)
    assert coded[0] == 61
    assert coded[-1] == 0b01_000000
    with pytest.raises(ProtocolError, match="outside"):  # 9 and 1 are the same modulo 2^64 / 2^61
        unpack_pulses(coded[:-1] + bytes([0, 0b01_000000]), 1, 0, MAX_NUMBER)


def test_a_sum_that_overflows_is_refused() -> None:
    gaps = 4 * [MAX_NUMBER] + [10]  # the last pulse number comes out as 10, modulo 2^64
    low = b"".join((gap % 2**56).to_bytes(7, "little") for gap in gaps)
    planes = [plain_bits([gap >> bit & 1 for gap in gaps]) for bit in range(56, 61)]
    coded = bytes([61]) + low + b"".join(planes) + plain_bits([0, 1] * 4 + [1])
    with pytest.raises(ProtocolError, match="outside"):
        unpack_pulses(coded, 5, 0, MAX_NUMBER)


@pytest.mark.parametrize(
    ("coded", "count"),
    [
        ("", 0),
        ("01 000000", 6),  # cut short
        ("02 00000000", 6),  # no such symbol
        ("01 00000004 00f0", 6),  # the symbol that is not rarer
        ("00 00000003 00e0", 6),  # as often: the ones are listed
        ("01 00000001 0002", 6),  # beyond the end
        ("01 00000001 0020 00", 6),
        ("01 ffffffff 0020", 6),
    ],
)
def test_malformed_patterns_are_refused(coded: str, count: int) -> None:
    with pytest.raises(ProtocolError):
        unpack_pattern(bytes.fromhex(coded), count)


@given(st.integers(0, 63), st.binary(max_size=40), st.integers(0, 40), st.integers(3, 10_000))
def test_any_list_is_canonical_or_refused(k: int, rest: bytes, count: int, end: int) -> None:
    coded = bytes([k]) + rest
    try:
        pulses = unpack_pulses(coded, count, 3, end)
    except ProtocolError:
        return
    assert pack_pulses(pulses, 3) == coded
    assert len(pulses) == count
    assert (np.diff(pulses, prepend=2, append=end) > 0).all()


@given(RISING.filter(bool), st.integers(0, 500), st.integers(0, 255), st.integers(0, 3))
def test_a_changed_or_cut_list_is_canonical_or_refused(
    offsets: list[int], at: int, mask: int, cut: int
) -> None:
    raw = bytearray(pack_pulses(np.array(offsets, np.int64), 0))
    raw[at % len(raw)] ^= mask
    coded = bytes(raw[: len(raw) - cut])
    try:
        pulses = unpack_pulses(coded, len(offsets), 0, MAX_NUMBER)
    except ProtocolError:
        return
    assert pack_pulses(pulses, 0) == coded


@given(st.integers(0, 1), st.integers(0, 30), st.binary(max_size=12), st.integers(0, 60))
def test_any_pattern_is_canonical_or_refused(
    rarer: int, listed: int, rest: bytes, count: int
) -> None:
    coded = bytes([rarer]) + listed.to_bytes(4, "big") + rest
    try:
        symbols = unpack_pattern(coded, count)
    except ProtocolError:
        return
    assert pack_pattern(symbols) == coded


def test_a_lying_count_takes_no_memory() -> None:
    coded = pack_pulses(clicks(1e-3, 1000), 0)
    tracemalloc.start()
    try:
        for count in (10**9, 2**40):
            with pytest.raises(ProtocolError):
                unpack_pulses(coded, count, 0, MAX_NUMBER)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_speed_is_that_of_numpy() -> None:
    """Far above what an element at a time in Python could reach, however busy the machine."""
    pulses = clicks(1e-3, 1_000_000)
    started = time.process_time()
    coded = pack_pulses(pulses, 0)
    unpack_pulses(coded, len(pulses), 0, int(pulses[-1]) + 1)
    assert time.process_time() - started < 1.0


@given(st.lists(st.integers(0, 5), min_size=1, max_size=40), st.integers(0, 9))
def test_the_map_of_dense_clicks_is_the_same_code(gaps: list[int], first: int) -> None:
    pulses = np.cumsum(np.array(gaps, np.int64) + 1) - 1 + first
    coded, end = pack_pulses(pulses, first), int(pulses[-1]) + 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detection_codec, "_is_dense", lambda _last, _count: False)
        assert pack_pulses(pulses, first) == coded
        assert (unpack_pulses(coded, len(gaps), first, end) == pulses).all()
