"""Everything that can be set on Eve, and where her attack works."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from qkd_hal.errors import UsageError
from qkd_hal_simulators.eavesdropping import target_of
from qkd_hal_simulators.man_in_the_middle import MAN_IN_THE_MIDDLE, make_man_in_the_middle
from qkd_hal_simulators.physics.eve import ATTACKS, Target, make_attack
from qkd_hal_simulators.physics.eve.options import AttackOptions
from qkd_hal_simulators.physics.fibre import Fibre
from qkd_hal_simulators.settings import PRESETS, ChannelSettings, Preset

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ALL_ATTACKS", "EveSettings", "Place", "Tap", "place_of"]

ALL_ATTACKS = (*ATTACKS, MAN_IN_THE_MIDDLE)


@dataclass(frozen=True, slots=True)
class Tap:
    """Where Eve binds, for the end that connects, and the end that binds; ``HOST:PORT``."""

    listen: str
    forward: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where an attack works. ``replaces_line``: the fibre is Eve's, not the receiver's."""

    tampers_with_messages: bool
    replaces_line: bool


@dataclass(frozen=True, slots=True)
class EveSettings:
    """One Eve. *attack* is ``NAME[:OPTION=VALUE,…]``; *quantum* or *classical* may be left out.

    *emitter_listens*: the end that emits is the one that binds. *preset* and *channel* are the
    modems', as their data sheets say. *report* is a file that she keeps up to date.

    Raises:
        UsageError: the attack is none, or needs a channel that is left out.
    """

    attack: str
    quantum: Tap | None = None
    classical: Tap | None = None
    emitter_listens: bool = True
    preset: Preset = field(default_factory=lambda: PRESETS["default"])
    channel: ChannelSettings = field(default_factory=ChannelSettings)
    seed: int | None = None
    report: Path | None = None

    def __post_init__(self) -> None:
        place = place_of(self.attack)
        needed = self.classical if place.tampers_with_messages else self.quantum
        if needed is None:
            name = "classical" if place.tampers_with_messages else "quantum"
            raise UsageError(
                f"{self.attack} needs the {name} channel", cure="Say where to listen and forward"
            )

    @property
    def target(self) -> Target:
        """What she knows of the link."""
        return target_of(self.preset.parameters, self.channel)


def place_of(attack: str) -> Place:
    """Check what *attack* names, options included, and say where it works.

    Raises:
        UsageError: no such attack, no such option, or a value out of range.
    """
    name = AttackOptions(attack).name
    if name not in ALL_ATTACKS:
        raise UsageError(f"no attack {name!r}", cure=f"Take one of {', '.join(ALL_ATTACKS)}")
    if name == MAN_IN_THE_MIDDLE:
        make_man_in_the_middle(attack, np.random.default_rng())
        return Place(tampers_with_messages=True, replaces_line=False)
    anywhere = Target(Fibre(0.0), 1.0, np.array([0.0, 1.0]), honest_clicks=1.0, clock_hz=1e9)
    return Place(False, make_attack(attack, anywhere).replaces_line)
