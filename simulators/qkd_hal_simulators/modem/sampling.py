"""The two samplers at the ends of the quantum channel, and which of them a modem runs.

Per pulse, light crosses the channel: fibre and detectors are the receiving end's, and Eve may
sit between. Per detection, the emitting end samples the whole channel and clicks cross over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from qkd_hal_simulators.physics.click_frame import ClickFrame
from qkd_hal_simulators.physics.click_log import ClickLog
from qkd_hal_simulators.physics.clicks import BOTH, Clicks
from qkd_hal_simulators.physics.emission_log import FrameLog
from qkd_hal_simulators.physics.frame import PhotonFrame
from qkd_hal_simulators.physics.memory import Recovery
from qkd_hal_simulators.physics.sampler import (
    BASIS_SHIFT,
    EMITTED_SHIFT,
    ClickSampler,
    click_probability,
    click_table,
    silent_states,
)
from qkd_hal_simulators.physics.source import LightSource

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qkd_hal.sources import DetectionBatch
    from qkd_hal_simulators.physics.detector import Detector
    from qkd_hal_simulators.physics.fibre import Fibre
    from qkd_hal_simulators.settings import ModemSettings

__all__ = [
    "ClickEmission",
    "ClickReception",
    "Emission",
    "PulseEmission",
    "PulseReception",
    "Reception",
    "emission_of",
    "reception_of",
]

_BLOCKS_AHEAD = 4  # light that is emitted before the detector has used the earlier
_MAX_REMEMBERED = 1 << 30  # pulses, a byte each: bounds the emission log on a lossy line
_FRAME_CLICKS = 1 << 16  # small enough for a cache, large enough for numpy
_FRAME_PULSES = 1 << 40  # expected in a frame of clicks, far below what a frame may span
_FEWEST_CLICKS = 1e-9  # per pulse: on a dark line, memory bounds what is out


class Emission(Protocol):
    """The emitting end: makes frames, and remembers what was in them."""

    @property
    def log(self) -> FrameLog | ClickLog:
        """The emitter's secret record."""
        ...

    @property
    def full(self) -> bool:
        """True while enough light is out for the detector."""
        ...

    def emit(self) -> tuple[int, bytes]:
        """Log the next frame; return its pulses and what crosses the channel."""
        ...


class Reception(Protocol):
    """The receiving end."""

    def measure(self, raw: bytes) -> DetectionBatch:
        """Return the clicks of one frame.

        Raises:
            ProtocolError: *raw* is not a frame of this sampler.
        """
        ...


class PulseEmission:
    """Emits pulse by pulse. *budget*: pulses that may be out."""

    def __init__(
        self, source: LightSource, *, first_pulse: int, frame_pulses: int, budget: int
    ) -> None:
        self.log = FrameLog(intensities=source.intensities, first_pulse=first_pulse)
        self._source = source
        self._frame_pulses = frame_pulses
        self._budget = budget

    @property
    def full(self) -> bool:
        """True while enough light is out for the detector."""
        return self.log.held >= self._budget

    def emit(self) -> tuple[int, bytes]:
        """Log the next frame; return its pulses and its light."""
        cells, frame = self._source.emit(self.log.end, self._frame_pulses)
        self.log.add(cells)
        return frame.pulse_count, frame.to_bytes()


class PulseReception:
    """Fibre and detectors, for light that comes pulse by pulse."""

    def __init__(self, fibre: Fibre, detector: Detector, rng: np.random.Generator) -> None:
        self._fibre = fibre
        self._detector = detector
        self._recovery = Recovery(detector.memory)
        self._rng = rng

    def measure(self, raw: bytes) -> DetectionBatch:
        """Return the clicks of one frame of light."""
        arrived = self._fibre.transmit(PhotonFrame.from_bytes(raw), self._rng)
        return self._detector.detect(arrived, self._rng, self._recovery)


class ClickEmission:
    """Samples source, fibre and detectors at once. *budget*: clicks that may be out."""

    def __init__(
        self, sampler: ClickSampler, log: ClickLog, *, frame_clicks: int, budget: int
    ) -> None:
        self.log = log
        self._sampler = sampler
        self._frame_clicks = frame_clicks
        self._budget = budget

    @property
    def full(self) -> bool:
        """True while enough clicks are out for the detector."""
        return self.log.held >= self._budget

    def emit(self) -> tuple[int, bytes]:
        """Log the next frame, which ends with a click; return its pulses and its clicks."""
        first = self.log.end
        gaps, cells = self._sampler.draw(self._frame_clicks)
        pulses = np.cumsum(gaps) + (first - 1)
        end = int(pulses[-1]) + 1
        self.log.add(pulses, cells >> np.uint8(EMITTED_SHIFT), end)
        clicks = Clicks(
            pulses, cells >> np.uint8(BASIS_SHIFT) & np.uint8(1), cells & np.uint8(BOTH)
        )
        return end - first, ClickFrame(first, end - first, clicks).to_bytes()


class ClickReception:
    """Takes clicks that the other end sampled; only double clicks are left to chance."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def measure(self, raw: bytes) -> DetectionBatch:
        """Return the clicks of one frame."""
        frame = ClickFrame.from_bytes(raw)
        span = frame.first_pulse, frame.first_pulse + frame.pulse_count
        return frame.clicks.detections(span, self._rng)


def emission_of(settings: ModemSettings, rng: np.random.Generator, *, first_pulse: int) -> Emission:
    """Return the emitting end that *settings* choose."""
    if settings.channel.sampler == "per-detection":
        return _click_emission(settings, rng, first_pulse)
    return _pulse_emission(settings, rng, first_pulse)


def _pulse_emission(
    settings: ModemSettings, rng: np.random.Generator, first_pulse: int
) -> PulseEmission:
    parameters, frame_pulses = settings.preset.parameters, settings.preset.frame_pulses
    detector, table = _receiver(settings)
    gap = detector.memory.mean_gap(max(_FEWEST_CLICKS, click_probability(table)))
    needed = int(_BLOCKS_AHEAD * parameters.detections_per_block * gap)
    source = LightSource(
        settings.light, key_basis_probability=parameters.key_basis_probability, rng=rng
    )
    budget = min(needed + 4 * frame_pulses, _MAX_REMEMBERED)
    return PulseEmission(source, first_pulse=first_pulse, frame_pulses=frame_pulses, budget=budget)


def _click_emission(
    settings: ModemSettings, rng: np.random.Generator, first_pulse: int
) -> ClickEmission:
    detections = settings.preset.parameters.detections_per_block
    detector, table = _receiver(settings)
    sampler = ClickSampler(table, detector.memory, rng)
    log = ClickLog(silent_states(table), first_pulse=first_pulse, rng=rng)
    spanned = int(_FRAME_PULSES * sampler.click_probability)
    frame_clicks = min(_FRAME_CLICKS, detections, spanned)
    return ClickEmission(sampler, log, frame_clicks=frame_clicks, budget=_BLOCKS_AHEAD * detections)


def _receiver(settings: ModemSettings) -> tuple[Detector, NDArray[np.float64]]:
    channel = settings.channel
    detector = channel.detector(settings.preset.parameters)
    return detector, click_table(settings.light, channel.fibre, detector)


def reception_of(settings: ModemSettings, rng: np.random.Generator) -> Reception:
    """Return the receiving end that *settings* choose."""
    channel = settings.channel
    if channel.sampler == "per-detection":
        return ClickReception(rng)
    return PulseReception(settings.fibre, channel.detector(settings.preset.parameters), rng)
