"""What an attack costs and tells: QBER and secret fraction against Eve's share, by simulation.

No processes and no wires: source, Eve, line and detector in one loop, then sifting, parameter
estimation and the finite-key bound of the real engine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from qkd_hal.distillation.detections import join_batches
from qkd_hal.distillation.estimation import estimate
from qkd_hal.distillation.finite_key import binary_entropy
from qkd_hal.distillation.sifting import KEY_BASIS, sift
from qkd_hal.errors import DistillationError, UsageError
from qkd_hal.sources import DetectionBatch
from qkd_hal_simulators.physics.emission_log import FrameLog
from qkd_hal_simulators.physics.eve import Knowledge, Target, make_attack
from qkd_hal_simulators.physics.eve.options import with_option
from qkd_hal_simulators.physics.memory import Recovery
from qkd_hal_simulators.physics.random import physical_generator
from qkd_hal_simulators.physics.sampler import click_probability, click_table
from qkd_hal_simulators.physics.source import LightSource
from qkd_hal_simulators.presets import PRESETS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from qkd_hal.distillation.estimation import Estimation
    from qkd_hal.distillation.parameters import DistillationParameters
    from qkd_hal.distillation.sifting import Emitted
    from qkd_hal_simulators.channel import ChannelSettings
    from qkd_hal_simulators.physics.eve import Attack

__all__ = ["Observation", "Point", "observe", "sweep", "target_of"]

_FEWEST_CLICKS = 1e-12  # per pulse, on a line that is dark from end to end
_RECONCILIATION = 1.1  # leak over Shannon's limit: what Cascade needs for blocks of this size


@dataclass(frozen=True, slots=True)
class Point:
    """One share of the pulses. ``qber``: test-basis error rate, ``key_qber``: key basis.

    ``sifted_bits``: of the key basis; ``secret_bits``: what the finite-key bound leaves of
    them, 0 where the engine would abort; ``eve_bits``: Eve's Shannon information on the
    sifted bits, before error correction.
    """

    share: float
    qber: float
    sifted_bits: int
    secret_bits: int
    eve_bits: float
    key_qber: float


@dataclass(frozen=True, slots=True)
class Observation:
    """What one run showed: counts that both ends agree on, and what Eve knows.

    ``pulses`` were emitted, ``detections`` of them clicked. ``guesses_right``: how many of
    the sifted key bits Eve's best guess in fact hit.
    """

    pulses: int
    detections: int
    estimation: Estimation
    knowledge: Knowledge
    guesses_right: int

    @property
    def key_qber(self) -> float:
        """Error rate of the key basis, which the detector learns while it corrects."""
        return sum(self.estimation.key_errors) / max(1, self.estimation.key_bits)

    def secret_bits(self, parameters: DistillationParameters) -> int:
        """Return the finite-key length with a usual leak; 0 where the engine would abort."""
        threshold = parameters.qber_threshold
        try:
            self.estimation.check(threshold)
        except DistillationError:
            return 0
        if self.key_qber > threshold:
            return 0
        limit = self.estimation.key_bits * binary_entropy(self.key_qber)
        return max(0, self.estimation.secret_bits(parameters, math.ceil(_RECONCILIATION * limit)))


def target_of(parameters: DistillationParameters, channel: ChannelSettings) -> Target:
    """Return what Eve knows of a link with these settings."""
    light, detector = channel.light(parameters), channel.detector(parameters)
    clicks = max(_FEWEST_CLICKS, click_probability(click_table(light, channel.fibre, detector)))
    return Target(
        channel.fibre,
        channel.efficiency,
        light.photon_numbers().sum(axis=1),
        honest_clicks=1 / detector.memory.mean_gap(clicks),
        clock_hz=channel.clock_mhz * 1e6,
    )


def sweep(
    attack_name: str,
    shares: Iterable[float],
    *,
    preset: str = "default",
    pulses: int = 1 << 22,
    seed: int = 1,
    channel: ChannelSettings | None = None,
) -> list[Point]:
    """Return QBER, key and Eve's knowledge for each share of the pulses that she taps.

    *attack_name* may carry options, such as ``"intercept-resend:basis=breidbart"``, except
    ``fraction``: that is the share, from 0 to 1. Each point takes *pulses* pulses by the
    light and block rules of *preset*, over its channel or *channel*; one *seed* serves all.

    Raises:
        UsageError: no such attack, preset or share, or *attack_name* names its fraction.
    """
    if preset not in PRESETS:
        raise UsageError(f"no preset {preset!r}", cure=f"Take one of {', '.join(PRESETS)}")
    parameters = PRESETS[preset].parameters
    channel = channel or PRESETS[preset].channel
    target = target_of(parameters, channel)
    rng = physical_generator(seed)
    points = []
    for share in shares:
        attack = make_attack(with_option(attack_name, "fraction", share), target)
        seen = observe(attack, parameters, channel, pulses=pulses, rng=rng)
        points.append(_point(share, seen, parameters))
    return points


def observe(
    attack: Attack,
    parameters: DistillationParameters,
    channel: ChannelSettings,
    *,
    pulses: int,
    rng: np.random.Generator,
    frame_pulses: int = 1 << 18,
) -> Observation:
    """Send *pulses* pulses past *attack* and take all detections for one block."""
    source = LightSource(
        channel.light(parameters),
        key_basis_probability=parameters.key_basis_probability,
        rng=rng,
    )
    log = FrameLog(intensities=source.intensities, first_pulse=0)
    detector = channel.detector(parameters)
    recovery = Recovery(detector.memory)
    batches = []
    for count in _frames(pulses, frame_pulses):
        cells, frame = source.emit(log.end, count)
        log.add(cells)
        light = attack.tap(frame, rng)
        arrived = light if attack.replaces_line else channel.fibre.transmit(light, rng)
        batches.append(detector.detect(arrived, rng, recovery))
    return _observation(attack, join_batches(batches), log, parameters.levels)


def _observation(attack: Attack, clicks: DetectionBatch, log: FrameLog, levels: int) -> Observation:
    sent = log.states(clicks.pulses)
    same = sent.bases == clicks.bases
    bases, intensities = sent.bases[same], sent.intensities[same]
    mine = sift(sent.bits[same], bases, intensities)
    theirs = sift(clicks.bits[same], bases, intensities)
    knowledge, right = _eve(attack, clicks.pulses, sent, same & (sent.bases == KEY_BASIS))
    wrong = mine.key_intensities[mine.key_bits != theirs.key_bits]
    key_errors = tuple(np.bincount(wrong, minlength=levels).tolist())
    return Observation(
        pulses=clicks.end_pulse,
        detections=len(clicks.pulses),
        estimation=replace(estimate(mine, theirs.test_bits, levels), key_errors=key_errors),
        knowledge=knowledge,
        guesses_right=right,
    )


def _eve(
    attack: Attack, pulses: NDArray[np.int64], sent: Emitted, kept: NDArray[np.bool_]
) -> tuple[Knowledge, int]:
    guesses = attack.hands.notes.read(pulses[kept], sent.bases[kept])
    return guesses.knowledge, int((guesses.bits == sent.bits[kept]).sum())


def _point(share: float, seen: Observation, parameters: DistillationParameters) -> Point:
    return Point(
        share=share,
        qber=seen.estimation.qber,
        sifted_bits=seen.estimation.key_bits,
        secret_bits=seen.secret_bits(parameters),
        eve_bits=seen.knowledge.shannon_bits,
        key_qber=seen.key_qber,
    )


def _frames(pulses: int, size: int) -> Iterator[int]:
    for start in range(0, pulses, size):
        yield min(size, pulses - start)
