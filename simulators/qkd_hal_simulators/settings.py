"""Everything that can be set on a modem."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from qkd_hal.errors import ConfigurationError
from qkd_hal.keys import check_name
from qkd_hal_simulators.channel import ChannelSettings
from qkd_hal_simulators.physics.fibre import Fibre
from qkd_hal_simulators.presets import PRESETS, Preset

if TYPE_CHECKING:
    from pathlib import Path

    from qkd_hal_simulators.physics.source import SinglePhotons, WeakCoherentPulses

__all__ = ["PRESETS", "ChannelSettings", "ModemSettings", "Preset"]


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
        return self.channel.light(self.preset.parameters)

    @property
    def fibre(self) -> Fibre:
        """The fibre between the quantum channel's socket and this end's detectors."""
        return Fibre(0.0) if self.fibre_elsewhere else self.channel.fibre
