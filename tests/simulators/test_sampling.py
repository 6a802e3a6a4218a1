"""Both ends of the quantum channel, by either sampler, joined without a wire."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import pytest

from qkd_hal.errors import ConfigurationError, ProtocolError
from qkd_hal_simulators.modem.sampling import emission_of, reception_of
from qkd_hal_simulators.physics.click_frame import MAX_SPAN
from qkd_hal_simulators.physics.random import physical_generator
from qkd_hal_simulators.settings import PRESETS, ChannelSettings, ModemSettings
from tests.simulators.conftest import some_settings

if TYPE_CHECKING:
    from pathlib import Path

    from qkd_hal.distillation.sifting import Emitted
    from qkd_hal.sources import DetectionBatch

    Sampler = Literal["per-pulse", "per-detection"]

SAMPLERS: tuple[Sampler, ...] = ("per-pulse", "per-detection")
FIRST = 1_800_000_000_000_000_000


@pytest.fixture
def settings(tmp_path: Path) -> ModemSettings:
    return some_settings(tmp_path, preset=PRESETS["default"])


def with_channel(settings: ModemSettings, **changes: object) -> ModemSettings:
    return replace(settings, channel=ChannelSettings(**changes))  # type: ignore[arg-type]


def link(
    settings: ModemSettings, frames: int, seed: int = 1
) -> list[tuple[DetectionBatch, Emitted]]:
    """Return what is seen of each frame, and what had been prepared in the pulses that clicked."""
    emission = emission_of(settings, physical_generator(seed), first_pulse=FIRST)
    reception = reception_of(settings, physical_generator(seed + 1))
    seen = []
    for _ in range(frames):
        begin = emission.log.end
        pulses, raw = emission.emit()
        batch = reception.measure(raw)
        assert (batch.first_pulse, batch.end_pulse) == (begin, begin + pulses)
        assert emission.log.end == begin + pulses
        seen.append((batch, emission.log.states(batch.pulses)))
    return seen


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_both_ends_agree_but_for_the_misalignment(
    settings: ModemSettings, sampler: Sampler
) -> None:
    channel = with_channel(settings, sampler=sampler, misalignment=0.02, dark_count_probability=0.0)
    wrong = matching = 0
    for batch, states in link(channel, 4):
        same = states.bases == batch.bases
        wrong += int((states.bits != batch.bits)[same].sum())
        matching += int(same.sum())
    assert matching > 50_000
    assert abs(wrong / matching - 0.0205) < 6 * (0.0205 / matching) ** 0.5  # doubles add 0.0005


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_seed_repeats_the_physics(settings: ModemSettings, sampler: Sampler) -> None:
    channel = with_channel(settings, sampler=sampler)
    (one, sent), (same, sent_again), (other, _) = (link(channel, 1, seed)[0] for seed in (1, 1, 9))
    assert np.array_equal(one.pulses, same.pulses)
    assert np.array_equal(one.bits, same.bits)
    assert np.array_equal(sent.bits, sent_again.bits)
    assert not np.array_equal(one.pulses[:100], other.pulses[:100])


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_an_emission_is_full_until_the_engine_discards(
    settings: ModemSettings, sampler: Sampler
) -> None:
    channel = with_channel(settings, sampler=sampler)
    small = replace(settings.preset.parameters, block_size=1000)
    channel = replace(channel, preset=replace(settings.preset, parameters=small, frame_pulses=4096))
    emission = emission_of(channel, physical_generator(1), first_pulse=FIRST)
    while not emission.full:
        emission.emit()
    emission.log.discard(emission.log.end)
    assert not emission.full
    assert emission.log.held == 0


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_frames_of_the_other_sampler_are_refused(settings: ModemSettings, sampler: Sampler) -> None:
    other = next(name for name in SAMPLERS if name != sampler)
    emission = emission_of(
        with_channel(settings, sampler=sampler), physical_generator(1), first_pulse=FIRST
    )
    reception = reception_of(with_channel(settings, sampler=other), physical_generator(1))
    with pytest.raises(ProtocolError, match="version 1"):
        reception.measure(emission.emit()[1])


def test_distance_costs_pulses_not_frames(settings: ModemSettings) -> None:
    spans = []
    for length_km in (0.0, 100.0, 400.0):
        far = with_channel(settings, sampler="per-detection", length_km=length_km)
        emission = emission_of(far, physical_generator(1), first_pulse=FIRST)
        pulses, raw = emission.emit()
        spans.append(pulses)
        assert len(raw) < 5 * (1 << 16) + 64
    assert spans[0] * 80 < spans[1] < spans[2] / 100


def test_a_frame_is_no_longer_than_a_block(settings: ModemSettings) -> None:
    """More clicks at once than blocks can wait for would be lost."""
    small = replace(settings.preset.parameters, block_size=1000)
    channel = replace(
        with_channel(settings, sampler="per-detection"),
        preset=replace(settings.preset, parameters=small),
    )
    [(batch, _)] = link(channel, 1)
    assert batch.pulses.size == small.detections_per_block


def test_a_frame_spans_no_more_pulses_than_may_cross_however_dark_the_line(
    settings: ModemSettings,
) -> None:
    dark = with_channel(
        settings, sampler="per-detection", length_km=2000.0, dark_count_probability=1e-9
    )
    [(batch, _)] = link(dark, 1)
    assert 1000 < batch.pulses.size < 3000
    assert batch.end_pulse - batch.first_pulse < MAX_SPAN


def test_a_line_that_nothing_crosses_cannot_be_sampled_by_its_clicks(
    settings: ModemSettings,
) -> None:
    dark = {"length_km": 2000.0, "dark_count_probability": 0.0}
    with pytest.raises(ConfigurationError, match="no pulse would ever click"):
        emission_of(
            with_channel(settings, sampler="per-detection", **dark),
            physical_generator(1),
            first_pulse=FIRST,
        )
    light = emission_of(with_channel(settings, **dark), physical_generator(1), first_pulse=FIRST)
    assert not light.full
