"""The detector's buffer: in order, bounded, and cut exactly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkd_hal.distillation.detections import DetectionBuffer
from qkd_hal.sources import DetectionBatch


def batch(first: int, end: int, clicks: list[int]) -> DetectionBatch:
    pulses = np.array(clicks, np.int64)
    return DetectionBatch(
        pulses, (pulses % 2).astype(np.uint8), (pulses % 3 == 0).astype(np.uint8), first, end
    )


@given(st.lists(st.sets(st.integers(0, 9), max_size=10), max_size=6))
def test_blocks_hold_every_click_once_and_in_order(frames: list[set[int]]) -> None:
    buffer = DetectionBuffer(20)
    clicks = []
    for number, frame in enumerate(frames):
        mine = sorted(10 * number + place for place in frame)
        clicks += mine
        buffer.add(batch(10 * number, 10 * number + 10, mine))
    seen: list[int] = []
    end = 0
    while buffer.ready:
        block = buffer.cut()
        assert len(block.pulses) == 20
        assert end <= block.first_pulse <= block.pulses[0]
        assert block.pulses[-1] == block.end_pulse - 1
        assert (block.bases == block.pulses % 2).all()
        assert (block.bits == (block.pulses % 3 == 0)).all()
        end = block.end_pulse
        seen += block.pulses.tolist()
    assert seen == clicks[: len(clicks) // 20 * 20]


def test_a_batch_that_starts_over_drops_what_came_before() -> None:
    buffer = DetectionBuffer(2)
    buffer.add(batch(0, 10, [1]))
    buffer.add(batch(5, 15, [6, 7]))
    assert buffer.cut().pulses.tolist() == [6, 7]
    assert not buffer.ready


def test_the_buffer_is_bounded_and_counts_what_it_lost() -> None:
    buffer = DetectionBuffer(2)
    buffer.add(batch(0, 100, list(range(11))))
    assert buffer.lost == 3
    buffer.add(batch(100, 110, [101, 102]))
    assert buffer.lost == 5
    for start in (0, 2, 4, 6):
        assert buffer.cut().pulses.tolist() == [start, start + 1]
    assert not buffer.ready


@pytest.mark.parametrize(("before", "left"), [(0, 4), (2, 3), (3, 2), (50, 0)])
def test_discarding_forgets_earlier_pulses(before: int, left: int) -> None:
    buffer = DetectionBuffer(1)
    buffer.add(batch(0, 10, [1, 2, 5, 6]))
    buffer.discard(before)
    blocks = []
    while buffer.ready:
        blocks.append(buffer.cut())
    assert len(blocks) == left
    assert all(block.first_pulse >= before for block in blocks)


def test_a_cut_block_does_not_share_memory_with_its_batch() -> None:
    buffer = DetectionBuffer(2)
    source = batch(0, 10, [3, 6])
    buffer.add(source)
    block = buffer.cut()
    block.bits.fill(0)
    assert source.bits.tolist() == [1, 1]


def test_frames_without_light_do_not_pile_up() -> None:
    buffer = DetectionBuffer(20)
    for frame in range(100):
        buffer.add(batch(10 * frame, 10 * frame + 10, []))
    buffer.add(batch(1000, 1020, list(range(1000, 1020))))
    assert len(buffer._batches) == 1
    assert (buffer.cut().first_pulse, buffer.ready) == (0, False)
