"""Figures of source, fibre and receiver that are no choice of the protocol."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from qkd_hal.errors import ConfigurationError
from qkd_hal_simulators.physics.detector import Detector
from qkd_hal_simulators.physics.fibre import Fibre
from qkd_hal_simulators.physics.memory import Memory
from qkd_hal_simulators.physics.source import SinglePhotons, WeakCoherentPulses

if TYPE_CHECKING:
    from qkd_hal.distillation.parameters import DistillationParameters

__all__ = ["ChannelSettings"]


@dataclass(frozen=True, slots=True)
class ChannelSettings:
    """Source, fibre and receiver; both ends of a link must be told the same.

    ``dark_count_probability``: per pulse and detector. ``efficiency_mismatch``: of the two
    detectors, as a share of their mean efficiency. ``background_photons``: stray photons per
    pulse at the receiver. ``intensity_noise``: standard deviation of a pulse's intensity, as
    a share of it. ``dead_time_ns``: after a click, of both detectors; an afterpulse follows
    it, ``afterpulse_ns`` later on average.

    ``sampler``: ``per-pulse`` sends light through the channel, where Eve may tap it;
    ``per-detection`` draws only the clicks, at the emitting end, which holds for a channel that
    treats all pulses alike and is much faster.

    Raises:
        ConfigurationError: no such channel can be.
    """

    length_km: float = 5.0
    attenuation_db_per_km: float = 0.2
    insertion_db: float = 0.0
    efficiency: float = 0.5
    dark_count_probability: float = 1e-7
    misalignment: float = 0.01
    efficiency_mismatch: float = 0.0
    background_photons: float = 0.0
    intensity_noise: float = 0.0
    dead_time_ns: float = 0.0
    afterpulse_probability: float = 0.0
    afterpulse_ns: float = 0.0
    clock_mhz: float = 1000.0
    sampler: Literal["per-pulse", "per-detection"] = "per-pulse"

    def __post_init__(self) -> None:
        shares = (
            self.dark_count_probability,
            self.misalignment,
            self.afterpulse_probability,
            self.efficiency * (1 + self.efficiency_mismatch / 2),
            self.efficiency * (1 - self.efficiency_mismatch / 2),
        )
        sizes = (
            self.length_km,
            self.attenuation_db_per_km,
            self.insertion_db,
            self.efficiency_mismatch,
            self.background_photons,
            self.intensity_noise,
        )
        times = (self.dead_time_ns, self.afterpulse_ns)
        possible = (
            all(0 <= share <= 1 for share in shares)
            and all(0 <= size < 1e4 for size in sizes)
            and all(0 <= time <= _LONGEST_NS for time in times)
            and 0 < self.clock_mhz <= _FASTEST_MHZ
        )
        if not possible:
            raise ConfigurationError(
                "the optical channel is impossible",
                cure="Losses and times are not negative, probabilities lie between 0 and 1",
            )

    @property
    def fibre(self) -> Fibre:
        """The fibre with these losses."""
        return Fibre(self.length_km, self.attenuation_db_per_km, self.insertion_db)

    @property
    def memory(self) -> Memory:
        """Dead time and afterpulsing, in pulses."""
        dead = math.ceil(round(self.dead_time_ns * self.clock_mhz / 1000, 6))
        glow = max(1.0, self.afterpulse_ns * self.clock_mhz / 1000)
        return Memory(dead, self.afterpulse_probability, glow)

    def detector(self, parameters: DistillationParameters) -> Detector:
        """Return the receiver, which measures X as often as the parameters say."""
        return Detector(
            self.efficiency,
            self.dark_count_probability,
            self.misalignment,
            parameters.key_basis_probability,
            self.efficiency_mismatch,
            self.background_photons,
            self.memory,
        )

    def light(self, parameters: DistillationParameters) -> WeakCoherentPulses | SinglePhotons:
        """Return the light source that the parameters describe."""
        if parameters.source == "single-photon":
            return SinglePhotons()
        levels = parameters.intensities, parameters.intensity_probabilities
        return WeakCoherentPulses(*levels, self.intensity_noise)


_LONGEST_NS = 1e7  # dead times and glows of known detectors are far shorter
_FASTEST_MHZ = 1e5
