"""The command line's options about light and line; what is left out is the preset's."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from qkd_hal_simulators.channel import ChannelSettings

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CHANNEL_OPTIONS", "channel_from"]

_CHANCE = click.FloatRange(0, 1)
_NUMBER = click.FloatRange(0)


def _option(
    name: str, field: str, kind: click.ParamType[Any], help_text: str
) -> Callable[..., Any]:
    return click.option(name, field, type=kind, help=help_text)


CHANNEL_OPTIONS = (
    _option("--length-km", "length_km", _NUMBER, "Fibre between the modems."),
    _option("--insertion-db", "insertion_db", _NUMBER, "Loss beside the fibre's."),
    _option("--efficiency", "efficiency", _CHANCE, "Of the detectors."),
    _option("--mismatch", "efficiency_mismatch", _NUMBER, "Of the detectors' efficiencies."),
    _option("--misalignment", "misalignment", _CHANCE, "Photons in the wrong detector."),
    _option("--dark-counts", "dark_count_probability", _CHANCE, "Per pulse and detector."),
    _option("--background", "background_photons", _NUMBER, "Stray photons per pulse."),
    _option("--intensity-noise", "intensity_noise", _NUMBER, "Of each pulse, as a share of it."),
    _option("--dead-time-ns", "dead_time_ns", _NUMBER, "Of both detectors after a click."),
    _option("--afterpulses", "afterpulse_probability", _CHANCE, "Per click."),
    _option("--afterpulse-ns", "afterpulse_ns", _NUMBER, "Mean delay after the dead time."),
    _option("--clock-mhz", "clock_mhz", _NUMBER, "Pulses per microsecond."),
    _option(
        "--sampler",
        "sampler",
        click.Choice(["per-pulse", "per-detection"]),
        "How light is simulated: only per pulse can Eve tap it.",
    ),
)


def channel_from(preset: ChannelSettings, options: dict[str, Any]) -> ChannelSettings:
    """Take the channel's options out of *options*; return *preset* with those that were given."""
    named = [name for name in ChannelSettings.__dataclass_fields__ if name in options]
    taken = {name: options.pop(name) for name in named}
    return replace(preset, **{name: value for name, value in taken.items() if value is not None})
