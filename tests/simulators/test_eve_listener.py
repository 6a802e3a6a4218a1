"""What Eve makes of the messages of two engines, good and bad."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from qkd_hal.distillation.bits import pack_bits
from qkd_hal.distillation.detection_codec import pack_pattern, pack_pulses
from qkd_hal.distillation.messages import (
    Corrected,
    Detections,
    Estimate,
    Frame,
    Message,
    Sift,
    encode,
)
from qkd_hal_simulators.eve_listener import Listener
from qkd_hal_simulators.physics.eve import Notebook
from qkd_hal_simulators.physics.eve.notebook import Holding

SESSION = b"8 bytes."


@dataclass
class Exchange:
    """One block of which 1000 pulses clicked in 10000."""

    first: int
    pulses: NDArray[np.int64]
    bases: NDArray[np.uint8]
    sent_bases: NDArray[np.uint8]
    levels: NDArray[np.uint8]

    @property
    def kept(self) -> NDArray[np.int64]:
        return np.flatnonzero(self.bases == self.sent_bases)

    @property
    def key(self) -> NDArray[np.int64]:
        return np.flatnonzero((self.bases == 0) & (self.sent_bases == 0))

    @property
    def test(self) -> NDArray[np.int64]:
        return np.flatnonzero((self.bases == 1) & (self.sent_bases == 1))

    def messages(self, wrong: int = 0) -> tuple[Detections, Sift, Estimate]:
        """Return the announcements; the first *wrong* of the test bits differ."""
        levels = self.levels[self.kept]
        mine = np.zeros(self.test.size, np.uint8)
        theirs = mine.copy()
        theirs[:wrong] = 1
        end = self.first + 10_000
        gaps = pack_pulses(self.pulses, self.first)
        return (
            Detections(self.first, end, self.pulses.size, gaps, pack_pattern(self.bases)),
            Sift(
                bytes(16),
                pack_pattern(self.sent_bases),
                pack_pattern(levels % 2 == 1),
                pack_pattern(levels > 1),
                pack_bits(mine),
                b"",
            ),
            Estimate(pack_bits(theirs), b""),
        )


def exchange(first: int = 0, seed: int = 1) -> Exchange:
    rng = np.random.default_rng(seed)
    return Exchange(
        first,
        first + np.sort(rng.choice(10_000, 1000, replace=False)),
        rng.integers(0, 2, 1000, np.uint8),
        rng.integers(0, 2, 1000, np.uint8),
        rng.integers(0, 3, 1000, np.uint8),
    )


def framed(message: Message, block: int = 0, session: bytes = SESSION) -> bytes:
    return encode(Frame(session, 0, block, message))


def everything_noted(first: int = 0, blocks: int = 1) -> Notebook:
    notes = Notebook()
    for start in range(first, first + 10_000 * blocks, 10_000):
        where = np.arange(10_000)
        holdings = np.full(10_000, Holding.PHOTON, np.uint8)
        notes.write(start, 10_000, where, holdings, np.zeros(10_000, np.uint8))
    return notes


def test_she_sets_her_notes_against_the_sifted_key() -> None:
    notes, block = Notebook(), exchange()
    half = block.key[::2]
    holdings = np.full(half.size, Holding.PHOTON, np.uint8)
    notes.write(0, 10_000, block.pulses[half], holdings, np.zeros(half.size, np.uint8))
    listener = Listener(notes, levels=3)
    for message in block.messages():
        listener.hear(framed(message))
    heard = listener.overheard
    assert (heard.blocks, heard.pulses, heard.detections) == (1, 10_000, 1000)
    assert (heard.knowledge.bits, heard.knowledge.known) == (block.key.size, half.size)


def test_she_counts_what_the_two_count() -> None:
    listener, block = Listener(Notebook(), levels=3), exchange()
    for message in block.messages(wrong=30):
        listener.hear(framed(message))
    last = listener.overheard.last
    assert last is not None
    assert last.key == tuple(np.bincount(block.levels[block.key], minlength=3))
    assert last.test == tuple(np.bincount(block.levels[block.test], minlength=3))
    assert last.errors == tuple(np.bincount(block.levels[block.test[:30]], minlength=3))
    assert last.qber == 30 / block.test.size


def test_blocks_in_flight_are_told_apart() -> None:
    listener = Listener(everything_noted(blocks=2), levels=3)
    one, other = exchange(0, 1), exchange(10_000, 2)
    for mine, theirs in zip(one.messages(), other.messages(), strict=True):
        for number, message in enumerate((mine, theirs)):
            assert isinstance(message, Detections | Sift | Estimate)
            listener.hear(framed(message, number))
    heard = listener.overheard
    assert (heard.blocks, heard.pulses) == (2, 20_000)
    assert heard.knowledge.known == heard.knowledge.bits == one.key.size + other.key.size
    assert heard.last is not None
    assert heard.last.key_bits == other.key.size


def test_notes_on_light_that_is_spent_are_thrown_away() -> None:
    notes = everything_noted(blocks=2)
    listener = Listener(notes, levels=3)
    detections, sift, _ = exchange().messages()
    listener.hear(framed(detections))
    assert notes.held == 20_000
    listener.hear(framed(sift))
    assert notes.held == 10_000


def test_a_message_that_comes_twice_counts_once() -> None:
    listener = Listener(everything_noted(), levels=3)
    detections, sift, estimate = exchange().messages()
    for message in (detections, sift, sift, estimate, estimate):
        listener.hear(framed(message))
    assert listener.overheard.blocks == 1


def test_answers_to_what_she_did_not_hear_tell_nothing() -> None:
    listener = Listener(Notebook(), levels=3)
    detections, sift, estimate = exchange().messages()
    listener.hear(framed(sift))
    listener.hear(framed(estimate))
    listener.hear(framed(detections, session=b"another."))
    listener.hear(framed(sift))
    listener.hear(framed(Corrected()))
    assert listener.overheard.blocks == 0
    assert listener.overheard.last is None


def test_an_estimate_before_its_sifting_is_no_estimate() -> None:
    listener = Listener(Notebook(), levels=3)
    detections, _, estimate = exchange().messages()
    listener.hear(framed(detections))
    listener.hear(framed(estimate))
    assert listener.overheard.last is None


def test_an_intensity_that_the_source_has_not_is_not_believed() -> None:
    listener = Listener(Notebook(), levels=2)
    for message in exchange().messages():
        listener.hear(framed(message))
    assert listener.overheard.blocks == 0


def test_announcements_without_answers_do_not_pile_up() -> None:
    listener = Listener(Notebook(), levels=3)
    detections = exchange().messages()[0]
    for number in range(500):
        listener.hear(framed(detections, number))
    assert len(listener._blocks) <= 64


MESSAGES = [framed(message) for message in exchange().messages()]


@given(st.binary(max_size=200))
def test_noise_tells_nothing(raw: bytes) -> None:
    listener = Listener(Notebook(), levels=3)
    listener.hear(raw)
    assert listener.overheard.blocks == 0


@given(st.integers(0, 2), st.integers(0, 10_000), st.integers(0, 255), st.booleans())
def test_a_damaged_message_breaks_nothing(which: int, at: int, value: int, cut: bool) -> None:
    listener = Listener(Notebook(), levels=3)
    for number, message in enumerate(MESSAGES):
        raw = bytearray(message)
        if number == which:
            at %= len(raw)
            raw[at:] = b"" if cut else bytes([value]) + raw[at + 1 :]
        listener.hear(bytes(raw))
    assert listener.overheard.blocks <= 1


@pytest.mark.parametrize("count", [0, 999, 1001, 2**32 - 1])
def test_a_count_is_checked_before_it_is_believed(count: int) -> None:
    listener = Listener(Notebook(), levels=3)
    detections, sift, _ = exchange().messages()
    listener.hear(framed(dataclasses.replace(detections, count=count)))
    listener.hear(framed(sift))
    assert listener.overheard.blocks == 0
