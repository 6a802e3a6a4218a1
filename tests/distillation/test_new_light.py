"""After a loss the emitter goes on with new light, and old detections are of no use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qkd_hal.distillation.detections import DetectionBuffer
from qkd_hal.distillation.session import BlockDistilled
from qkd_hal.sources import DetectionBatch
from tests.distillation.conftest import SMALL, Pair

if TYPE_CHECKING:
    from collections.abc import Callable


def clicks(first: int, end: int) -> DetectionBatch:
    pulses = np.arange(first, end)
    nothing = np.zeros(end - first, np.uint8)
    return DetectionBatch(pulses, nothing, nothing.copy(), first, end)


def test_light_from_before_the_session_is_dropped() -> None:
    buffer = DetectionBuffer(10)
    buffer.discard(100)
    buffer.add(clicks(80, 100))
    assert (buffer.ready, buffer.lost) == (False, 20)
    buffer.add(clicks(100, 110))
    assert buffer.cut().first_pulse == 100


def test_an_emission_that_starts_again_from_zero_is_taken() -> None:
    buffer = DetectionBuffer(10)
    buffer.discard(100)
    buffer.discard(0)
    buffer.add(clicks(0, 10))
    assert buffer.ready


def test_a_time_out_spends_the_light_that_the_detector_may_have_lost(
    make_pair: Callable[..., Pair],
) -> None:
    pair = make_pair()
    pair.run()
    lost = pair.channel.emit(3 * SMALL.detections_per_block)
    pair.emitter.act(pair.emitter.engine.abort("the peer did not answer in time"))
    pair.run()
    assert pair.channel.discarded == lost.end_pulse
    pair.detector.engine.add_detections(lost)
    pair.run()
    assert not pair.detector.aborts
    pair.photons()
    pair.run()
    assert [type(event) for event in pair.detector.distilled] == [BlockDistilled]
