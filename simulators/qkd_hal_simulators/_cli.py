"""``qkd-hal modem``: the simulated optical modems and the eavesdropper between them."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from qkd_hal.distillation.parameters import Source
from qkd_hal.private_files import replace_private
from qkd_hal_simulators._channel_options import CHANNEL_OPTIONS, channel_from
from qkd_hal_simulators.eve_process import run_eve
from qkd_hal_simulators.eve_settings import ALL_ATTACKS, EveSettings, Tap
from qkd_hal_simulators.long_run_command import long_run_command
from qkd_hal_simulators.modem.initial_secret import create_initial_secret
from qkd_hal_simulators.modem.lifetime import ending
from qkd_hal_simulators.modem.process import run_modem
from qkd_hal_simulators.physics.eve.options import with_option
from qkd_hal_simulators.settings import PRESETS, ChannelSettings, ModemSettings, Preset

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Command = Callable[..., None]

__all__ = ["modem"]

_FILE = click.Path(path_type=Path, dir_okay=False)
_DIRECTORY = click.Path(path_type=Path, file_okay=False)
_CHANCE = click.FloatRange(0, 1)

_LIFE = (
    click.option("--ready-file", type=_FILE, help="Written, as JSON, once all is bound."),
    click.option("--die-with-parent", is_flag=True, help="End when standard input ends."),
)
_MODEM = (
    click.option("--dir", "directory", type=_DIRECTORY, required=True, help="Store, 0700."),
    click.option("--secret", type=_FILE, help="Initial secret; removed once taken in."),
    click.option("--app", default="127.0.0.1:0", show_default=True, metavar="HOST:PORT"),
    click.option("--site", help="This end's name; by default the command's."),
    click.option("--peer", help="The other end's name."),
    click.option("--fibre-elsewhere", is_flag=True, help="The fibre is Eve's: see modem eve."),
)
_LINK = (
    click.option("--preset", type=click.Choice(list(PRESETS)), default="default"),
    click.option("--source", type=click.Choice(get_args(Source))),
    click.option("--block-size", type=int, help="Sifted key-basis bits of a block."),
    *CHANNEL_OPTIONS,
    click.option("--high-water", default=2 << 20, show_default=True, help="Bytes of either space."),
    click.option("--entropy", metavar="URL", help="A random generator, such as quantis:"),
    click.option("--seed", type=int, help="Replay the physics; for tests."),
    click.option(
        "--record-session",
        type=_DIRECTORY,
        metavar="DIR",
        help="Write a transcript that derives the keys again: SECRET, for `qkd-hal audit`.",
    ),
)


def _options(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


@click.group()
def modem() -> None:
    """Run simulated BB84 optical modems."""


modem.add_command(long_run_command)


@modem.command()
@click.option("--out", "paths", type=_FILE, required=True, multiple=True, help="Repeat per site.")
@click.option("--bytes", "size", default=4096, show_default=True, help="Length of the secret.")
def secret(paths: tuple[Path, ...], size: int) -> None:
    """Make the secret that two modems share before their first block.

    Each modem removes its copy once it has taken it in.
    """
    create_initial_secret(list(paths), size)


@modem.command()
@click.option("--bind", metavar="HOST:PORT", help="Quantum channel; the classical is PORT+1.")
@click.option("--bind-quantum", "quantum", metavar="HOST:PORT")
@click.option("--bind-classical", "classical", metavar="HOST:PORT")
@click.option("--emit/--detect", "emits", default=True, help="Which end has the light source.")
@_options(*_MODEM, *_LINK, *_LIFE)
def alice(bind: str | None, **options: Any) -> None:
    """Run the end that binds."""
    _run_modem("alice", "bob", bind, options)


@modem.command()
@click.option("--connect", metavar="HOST:PORT", help="Quantum channel; the classical is PORT+1.")
@click.option("--connect-quantum", "quantum", metavar="HOST:PORT")
@click.option("--connect-classical", "classical", metavar="HOST:PORT")
@click.option("--emit/--detect", "emits", default=False, help="Which end has the light source.")
@_options(*_MODEM, *_LINK, *_LIFE)
def bob(connect: str | None, **options: Any) -> None:
    """Run the end that connects."""
    _run_modem("bob", "alice", connect, options)


@modem.command()
@click.option("--listen", metavar="HOST:PORT", help="Quantum channel: for the end that connects.")
@click.option("--forward", metavar="HOST:PORT", help="Quantum channel: the end that binds.")
@click.option("--listen-classical", metavar="HOST:PORT", help="The same, for the messages.")
@click.option("--forward-classical", metavar="HOST:PORT")
@click.option(
    "--attack",
    default="intercept-resend",
    show_default=True,
    metavar="NAME[:OPTION=VALUE,…]",
    help=f"One of {', '.join(ALL_ATTACKS)}.",
)
@click.option("--fraction", type=_CHANCE, help="Short for the attack's option fraction.")
@click.option("--reverse", is_flag=True, help="The end that connects is the one that emits.")
@click.option("--report", type=_FILE, help="Kept up to date, as JSON, with what she learned.")
@_options(*_LINK, *_LIFE)
def eve(**options: Any) -> None:
    """Sit in the middle of the quantum channel, the classical one, or both.

    She takes the modems' options about light and line as well, for she knows their data
    sheets. Attacks that replace the fibre want the receiving modem told --fibre-elsewhere.
    """
    ready_file, with_parent = options.pop("ready_file"), options.pop("die_with_parent")
    settings = _eve_settings(options)
    with ending(with_parent=with_parent) as stop:
        run_eve(settings, stop, ready=lambda fields: _announce(ready_file, fields))


def _eve_settings(options: dict[str, Any]) -> EveSettings:
    attack, fraction = options["attack"], options["fraction"]
    if fraction is not None:
        attack = with_option(attack, "fraction", fraction)
    preset, channel = _link(options)
    return EveSettings(
        attack,
        quantum=_tap(options["listen"], options["forward"]),
        classical=_tap(options["listen_classical"], options["forward_classical"]),
        emitter_listens=not options["reverse"],
        preset=preset,
        channel=channel,
        seed=options["seed"],
        report=options["report"],
    )


def _tap(listen: str | None, forward: str | None) -> Tap | None:
    if (listen is None) != (forward is None):
        raise click.UsageError("name both where Eve listens and where she forwards")
    return Tap(listen, forward) if listen and forward else None


def _run_modem(site: str, peer: str, address: str | None, options: dict[str, Any]) -> None:
    ready_file, with_parent = options.pop("ready_file"), options.pop("die_with_parent")
    settings = _settings(site, peer, address, options)
    with ending(with_parent=with_parent) as stop:
        run_modem(settings, stop, ready=lambda fields: _announce(ready_file, fields))


def _settings(site: str, peer: str, address: str | None, options: dict[str, Any]) -> ModemSettings:
    quantum, classical = _addresses(address, options.pop("quantum"), options.pop("classical"))
    preset, channel = _link(options)
    return ModemSettings(
        site=options.pop("site") or site,
        peer=options.pop("peer") or peer,
        first=site == "alice",
        quantum=quantum,
        classical=classical,
        preset=preset,
        channel=channel,
        **options,
    )


def _link(options: dict[str, Any]) -> tuple[Preset, ChannelSettings]:
    """Take the options about light and line out of *options*."""
    preset = _preset(options.pop("preset"), options.pop("source"), options.pop("block_size"))
    return preset, channel_from(preset.channel, options)


def _preset(name: str, source: str | None, block_size: int | None) -> Preset:
    preset = PRESETS[name]
    changes: dict[str, Any] = {} if block_size is None else {"block_size": block_size}
    if source is not None and source != preset.parameters.source:
        like = next(p.parameters for p in PRESETS.values() if p.parameters.source == source)
        changes["source"] = source
        changes["intensities"] = like.intensities
        changes["intensity_probabilities"] = like.intensity_probabilities
    return replace(preset, parameters=replace(preset.parameters, **changes))


def _addresses(both: str | None, quantum: str | None, classical: str | None) -> tuple[str, str]:
    """Return both channels' addresses; the classical port follows the quantum one."""
    if both is not None:
        host, _, port = both.rpartition(":")
        if not host or not port.isdigit():
            raise click.UsageError(f"{both!r} is not HOST:PORT")
        following = int(port) + 1 if int(port) else 0
        quantum, classical = quantum or both, classical or f"{host}:{following}"
    if not quantum or not classical:
        raise click.UsageError("name the addresses of both channels")
    return quantum, classical


def _announce(path: Path | None, fields: Mapping[str, str]) -> None:
    if path is not None:
        replace_private(path, json.dumps({**fields, "pid": os.getpid()}).encode())
    where = fields.get("url") or " ".join(fields.values())
    click.echo(f"ready: {where}; Ctrl-C ends")
