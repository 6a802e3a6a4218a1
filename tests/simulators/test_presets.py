"""Links by name, the options that change them, and the command that runs a day of one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner

from qkd_hal.errors import ConfigurationError
from qkd_hal_simulators._channel_options import CHANNEL_OPTIONS, channel_from
from qkd_hal_simulators._cli import modem
from qkd_hal_simulators.channel import ChannelSettings
from qkd_hal_simulators.modem.sampling import emission_of, reception_of
from qkd_hal_simulators.physics.memory import Memory
from qkd_hal_simulators.physics.random import physical_generator
from qkd_hal_simulators.physics.source import SinglePhotons, WeakCoherentPulses
from qkd_hal_simulators.settings import PRESETS
from tests.simulators.conftest import some_settings

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("name", PRESETS)
def test_light_of_every_preset_crosses_its_channel(name: str, tmp_path: Path) -> None:
    preset = PRESETS[name]
    settings = some_settings(tmp_path, preset=preset, channel=preset.channel)
    emission = emission_of(settings, physical_generator(1), first_pulse=0)
    batch = reception_of(settings, physical_generator(2)).measure(emission.emit()[1])
    sent = emission.log.states(batch.pulses)
    same = sent.bases == batch.bases
    wrong = float((sent.bits != batch.bits)[same].mean())
    assert 0.5 * settings.channel.misalignment < wrong < settings.preset.parameters.qber_threshold


def test_named_systems_have_the_figures_of_their_papers() -> None:
    lim = PRESETS["lim-2014"].channel
    assert (lim.efficiency, lim.dark_count_probability, lim.misalignment) == (0.1, 6e-7, 5e-3)
    assert (lim.afterpulse_probability, lim.attenuation_db_per_km) == (0.04, 0.2)
    assert PRESETS["lim-2014"].parameters.intensities[2] == 2e-4
    rusca = PRESETS["rusca-2018"]
    assert rusca.parameters.source == "wcp-1-decoy"
    assert (rusca.channel.efficiency, 2 * rusca.channel.dark_count_probability) == (0.5, 1e-8)
    assert (rusca.channel.dead_time_ns, rusca.channel.misalignment) == (100.0, 0.01)
    assert PRESETS["zte-2024"].channel.length_km == 50.0
    assert PRESETS["toshiba-2018"].channel.fibre.transmittance == pytest.approx(10**-0.2)


def test_a_channel_counts_time_in_pulses() -> None:
    channel = ChannelSettings(
        dead_time_ns=100.0, afterpulse_probability=0.1, afterpulse_ns=30.0, clock_mhz=250.0
    )
    assert channel.memory == Memory(25, 0.1, 7.5)
    assert ChannelSettings(dead_time_ns=0.3).memory.dead_pulses == 1
    assert ChannelSettings().memory.none


def test_a_channel_gives_the_light_its_noise() -> None:
    noisy = ChannelSettings(intensity_noise=0.1)
    light = noisy.light(PRESETS["default"].parameters)
    assert isinstance(light, WeakCoherentPulses)
    assert light.noise == 0.1
    assert noisy.light(PRESETS["short"].parameters) == SinglePhotons()


@pytest.mark.parametrize(
    "channel",
    [
        {"efficiency": 0.9, "efficiency_mismatch": 0.3},
        {"efficiency_mismatch": 2.1},
        {"efficiency_mismatch": -0.1},
        {"afterpulse_probability": 1.1},
        {"dead_time_ns": -1.0},
        {"afterpulse_ns": 1e8},
        {"background_photons": -1e-9},
        {"intensity_noise": float("nan")},
        {"clock_mhz": 0.0},
        {"clock_mhz": 1e6},
    ],
)
def test_impossible_channels_are_refused(channel: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match="impossible"):
        ChannelSettings(**channel)  # type: ignore[arg-type]


def parsed(*line: str) -> dict[str, object]:
    """Return what the channel's options on a command line say."""
    command = click.Command("x", params=[], callback=lambda **options: options)
    for option in CHANNEL_OPTIONS:
        command = option(command)
    with command.make_context("x", list(line)) as context:
        return context.params


def test_options_change_what_they_name_and_leave_the_preset_the_rest() -> None:
    options = {**parsed("--length-km", "7", "--background", "0"), "seed": 3}
    channel = channel_from(PRESETS["lim-2014"].channel, options)
    assert (channel.length_km, channel.background_photons) == (7.0, 0.0)
    assert channel.efficiency == 0.1
    assert options == {"seed": 3}


def test_every_figure_of_the_channel_has_its_option() -> None:
    assert set(parsed()) == set(ChannelSettings.__dataclass_fields__) - {"attenuation_db_per_km"}


def test_a_long_run_is_told_as_a_table_or_as_json() -> None:
    line = [
        "long-run",
        "--preset",
        "zte-2024",
        "--hours",
        "0.5",
        "--seed",
        "3",
        "--length-km",
        "40",
    ]
    table = CliRunner().invoke(modem, line)
    assert table.exit_code == 0
    assert len(table.output.splitlines()) == 4
    told = json.loads(CliRunner().invoke(modem, [*line, "--json"]).output)
    assert told["total"]["seconds"] == pytest.approx(1800, rel=0.01)
    assert told["total"]["net_bits_per_second"] > 25_000  # at 50 km: 20,000
    assert f"{told['total']['net_bits_per_second']:.0f}" in table.output.splitlines()[-1]
