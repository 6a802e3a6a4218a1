"""A day of a link in seconds to minutes: drift, feedback, and the key of each block.

Of each block only its counts are drawn, as the per-detection sampler would give them; the key
length is that of the distillation, with an assumed cost of reconciliation. No bit is made: this is
for planning and for stability, not for keys.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from qkd_hal.distillation.estimation import Estimation
from qkd_hal.distillation.finite_key import binary_entropy
from qkd_hal.distillation.verification import excess_leak
from qkd_hal.errors import DistillationError, UsageError
from qkd_hal_simulators.physics.counts import (
    SiftedCounts,
    count_block,
    sifted_chances,
    span_of_clicks,
)
from qkd_hal_simulators.physics.drift import Aligner, Drift, turned
from qkd_hal_simulators.physics.random import physical_generator
from qkd_hal_simulators.physics.sampler import click_probability, click_table

if TYPE_CHECKING:
    import numpy as np

    from qkd_hal.distillation.parameters import DistillationParameters
    from qkd_hal_simulators.channel import ChannelSettings

__all__ = ["Interval", "LongRun", "RunSettings", "long_run"]


@dataclass(frozen=True, slots=True)
class RunSettings:
    """How long, and what happens meanwhile.

    *seconds* of link time, told of in so many *intervals*. *drift_mrad*: root mean square
    wandering of the polarisation in an hour; *feedback*: the receiver follows it.
    *reconciliation_efficiency*: leak over Shannon's limit. *most_blocks*: more than these are
    not drawn; one then stands for several in a row, and the feedback sees only that one.

    Raises:
        UsageError: a value is out of range.
    """

    seconds: float = 86400.0
    intervals: int = 96
    drift_mrad: float = 100.0
    feedback: bool = True
    reconciliation_efficiency: float = 1.06
    most_blocks: int = 20_000
    seed: int = 0

    def __post_init__(self) -> None:
        positive = min(self.seconds, self.intervals, self.most_blocks) > 0
        if not positive or self.drift_mrad < 0 or self.reconciliation_efficiency < 1:
            raise UsageError(
                "a long run needs time, intervals and blocks",
                cure="Drift is not negative, and no reconciliation beats Shannon's limit",
            )


@dataclass(frozen=True, slots=True)
class Interval:
    """What became of a stretch of the run.

    ``begin``: seconds from the start; ``off_mrad``: mean distance of the polarisation from
    where the receiver takes it to be; ``qber``: mean over blocks; ``net_bits``: key, with the
    authentication paid.
    """

    begin: float
    seconds: float = 0.0
    blocks: float = 0.0
    aborted: float = 0.0
    qber: float = 0.0
    off_mrad: float = 0.0
    net_bits: float = 0.0

    @property
    def net_bits_per_second(self) -> float:
        """Net key rate; 0 where no block ended."""
        return self.net_bits / self.seconds if self.seconds else 0.0

    def plus(self, block: _Block, weight: float) -> Interval:
        """Return the interval with *weight* blocks like *block*."""
        blocks = self.blocks + weight
        return Interval(
            self.begin,
            self.seconds + weight * block.seconds,
            blocks,
            self.aborted + weight * (not block.net_bits),
            self.qber + (block.qber - self.qber) * weight / blocks,
            self.off_mrad + (block.off_mrad - self.off_mrad) * weight / blocks,
            self.net_bits + weight * block.net_bits,
        )


@dataclass(frozen=True, slots=True)
class LongRun:
    """The intervals in which blocks ended, in order."""

    intervals: tuple[Interval, ...]

    @property
    def total(self) -> Interval:
        """All intervals as one."""
        blocks = sum(one.blocks for one in self.intervals)
        return Interval(
            0.0,
            sum(one.seconds for one in self.intervals),
            blocks,
            sum(one.aborted for one in self.intervals),
            sum(one.qber * one.blocks for one in self.intervals) / blocks,
            sum(one.off_mrad * one.blocks for one in self.intervals) / blocks,
            sum(one.net_bits for one in self.intervals),
        )

    def to_json(self) -> dict[str, object]:
        """Return plain numbers: the ``total`` and the ``intervals``."""
        rows = [_row(one) for one in self.intervals]
        return {"total": _row(self.total), "intervals": rows}


def long_run(
    parameters: DistillationParameters,
    channel: ChannelSettings,
    settings: RunSettings = RunSettings(),
) -> LongRun:
    """Run a link; the same seed gives the same run.

    Raises:
        ConfigurationError: nothing crosses this channel.
    """
    link = _Link(parameters, channel, settings)
    weight = max(1, round(settings.seconds / link.block_seconds() / settings.most_blocks))
    length = settings.seconds / settings.intervals
    rows: dict[int, Interval] = {}
    now = 0.0
    while now < settings.seconds:
        block = link.block(weight)
        index = int(now / length)
        now += weight * block.seconds
        rows[index] = rows.get(index, Interval(index * length)).plus(block, weight)
    return LongRun(tuple(rows.values()))


@dataclass(frozen=True, slots=True)
class _Block:
    seconds: float
    qber: float
    off_mrad: float
    net_bits: int


class _Link:
    def __init__(
        self,
        parameters: DistillationParameters,
        channel: ChannelSettings,
        settings: RunSettings,
    ) -> None:
        self._parameters = parameters
        self._channel = channel
        self._settings = settings
        self._light = channel.light(parameters)
        self._rng = physical_generator(settings.seed)
        self._drift = Drift(settings.drift_mrad, self._rng)
        self._aligner = Aligner() if settings.feedback else None

    def block_seconds(self) -> float:
        """Return how long the light of a block takes, on average."""
        clicks = click_probability(self._table(0.0))
        return self._seconds(self._channel.memory.mean_gap(clicks)) * self._detections

    def block(self, weight: int) -> _Block:
        """Measure a block, distil it in thought, and let it drift for *weight* of its kind."""
        off = self._drift.angle - (self._aligner.setting if self._aligner else 0.0)
        table, memory = self._table(off), self._channel.memory
        counts = count_block(sifted_chances(table, memory), self._detections, self._rng)
        clicks = click_probability(table)
        seconds = self._seconds(span_of_clicks(clicks, memory, self._detections, self._rng))
        if self._aligner:
            self._aligner.update(counts.qber)
        self._drift.advance(weight * seconds)
        return _Block(seconds, counts.qber, abs(off) * 1000, self._net_bits(counts))

    @property
    def _detections(self) -> int:
        return self._parameters.detections_per_block

    def _seconds(self, pulses: float) -> float:
        return pulses / (self._channel.clock_mhz * 1e6)

    def _table(self, off: float) -> np.ndarray:
        detector = self._channel.detector(self._parameters)
        detector = replace(detector, misalignment=turned(detector.misalignment, off))
        return click_table(self._light, self._channel.fibre, detector)

    def _net_bits(self, counts: SiftedCounts) -> int:
        """Return the block's key less what refills the pads; 0 where it is given up."""
        parameters = self._parameters
        estimation = Estimation(counts.key, counts.test, counts.test_errors, counts.key_errors)
        try:
            estimation.check(parameters.qber_threshold)
        except DistillationError:
            return 0
        if counts.key_qber > parameters.qber_threshold:
            return 0
        limit = sum(counts.key) * binary_entropy(counts.key_qber)
        leak = self._settings.reconciliation_efficiency * limit + excess_leak(parameters.eps_cor)
        length = estimation.secret_bits(parameters, round(leak))
        return max(0, length - 8 * parameters.pad_refill_bytes)


def _row(interval: Interval) -> dict[str, float]:
    return {**asdict(interval), "net_bits_per_second": interval.net_bits_per_second}
