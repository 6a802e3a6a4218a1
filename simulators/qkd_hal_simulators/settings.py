"""Everything that can be set on a modem, and the presets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from qkd_hal.distillation.parameters import DistillationParameters
from qkd_hal.errors import ConfigurationError
from qkd_hal.keys import check_name
from qkd_hal_simulators.physics.detector import Detector
from qkd_hal_simulators.physics.fibre import Fibre
from qkd_hal_simulators.physics.source import SinglePhotons, WeakCoherentPulses

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["PRESETS", "ChannelSettings", "ModemSettings", "Preset"]


@dataclass(frozen=True, slots=True)
class ChannelSettings:
    """Fibre and receiver. ``dark_count_probability`` is per pulse and detector.

    ``sampler``: ``per-pulse`` sends light through the channel, where Eve may tap it;
    ``per-detection`` draws only the clicks, at the emitting end, which holds for a channel that
    treats all pulses alike and is much faster.
    """

    length_km: float = 5.0
    attenuation_db_per_km: float = 0.2
    insertion_db: float = 0.0
    efficiency: float = 0.5
    dark_count_probability: float = 1e-7
    misalignment: float = 0.01
    sampler: Literal["per-pulse", "per-detection"] = "per-pulse"

    def __post_init__(self) -> None:
        shares = (self.efficiency, self.dark_count_probability, self.misalignment)
        losses = (self.length_km, self.attenuation_db_per_km, self.insertion_db)
        if not all(0 <= share <= 1 for share in shares) or not all(0 <= x < 1e4 for x in losses):
            raise ConfigurationError(
                "the optical channel is impossible",
                cure="Losses are not negative, probabilities lie between 0 and 1",
            )

    @property
    def fibre(self) -> Fibre:
        """The fibre with these losses."""
        return Fibre(self.length_km, self.attenuation_db_per_km, self.insertion_db)

    def detector(self, parameters: DistillationParameters) -> Detector:
        """Return the receiver, which measures X as often as the parameters say."""
        return Detector(
            self.efficiency,
            self.dark_count_probability,
            self.misalignment,
            parameters.key_basis_probability,
        )


@dataclass(frozen=True, slots=True)
class Preset:
    """A light source, its blocks, and pulses in one frame.

    ``answer_seconds``: how long the peer may take for its next message before the block is
    given up; it grows with what the work of one message costs on a busy machine.
    """

    parameters: DistillationParameters
    frame_pulses: int
    answer_seconds: float


PRESETS = {
    "default": Preset(DistillationParameters(), 1 << 20, answer_seconds=4.0),
    "short": Preset(DistillationParameters.short(), 1 << 16, answer_seconds=1.0),
}


@dataclass(frozen=True, slots=True)
class ModemSettings:
    """One end of the link. Addresses are ``HOST:PORT``; port 0 lets the system choose.

    ``first``: this end binds, and the first half of each block is its own. ``emits``: it
    has the light source, the other end the detectors. ``high_water``: bytes of either
    space above which no more is distilled. ``entropy``: URL of the random generator to use
    instead of the operating system's. ``seed`` replays the physics, never the keys'
    authentication. ``record_session``: directory for a transcript of what is distilled, as
    secret as the keys. ``fibre_elsewhere``: light arrives as it left the fibre, which is Eve's.
    """

    site: str
    peer: str
    first: bool
    emits: bool
    quantum: str
    classical: str
    app: str
    directory: Path
    secret: Path | None = None
    preset: Preset = field(default_factory=lambda: PRESETS["default"])
    channel: ChannelSettings = field(default_factory=ChannelSettings)
    high_water: int = 2 << 20
    entropy: str | None = None
    seed: int | None = None
    record_session: Path | None = None
    fibre_elsewhere: bool = False

    def __post_init__(self) -> None:
        check_name(self.site)
        check_name(self.peer)
        if self.site == self.peer:
            raise ConfigurationError("both ends bear one name", cure="Set --site and --peer")
        if self.high_water < 1:
            raise ConfigurationError("--high-water is a positive number of bytes")

    @property
    def light(self) -> WeakCoherentPulses | SinglePhotons:
        """The light source that the parameters describe."""
        parameters = self.preset.parameters
        if parameters.source == "single-photon":
            return SinglePhotons()
        return WeakCoherentPulses(parameters.intensities, parameters.intensity_probabilities)

    @property
    def fibre(self) -> Fibre:
        """The fibre between the quantum channel's socket and this end's detectors."""
        return Fibre(0.0) if self.fibre_elsewhere else self.channel.fibre
