"""``qkd-hal demo``: the main job on one machine, from photons to TLS records."""

from __future__ import annotations

from importlib.util import find_spec

import click

from qkd_hal.cli._output import json_option, print_json
from qkd_hal.cli.demo.narrator import narrator
from qkd_hal.cli.demo.settings import DEFAULT, SHORT, DemoSettings, usual_length_km
from qkd_hal.errors import MissingExtraError

__all__ = ["demo"]


@click.command()
@click.option(
    "--eve",
    metavar="ATTACK[:OPTION=VALUE,…]",
    help="Show how an eavesdropper is found: intercept-resend, photon-number-splitting,"
    " beam-splitting, noise or man-in-the-middle.",
)
@click.option(
    "--fraction",
    type=click.FloatRange(0, 1, min_open=True),
    help="How much of the light, or of the messages, Eve takes; default: the attack's.",
)
@click.option("--short", is_flag=True, help="Ideal single photons in small blocks: a few seconds.")
@click.option("--preset", help="A link by name, such as zte-2024; see docs/simulators.md.")
@click.option(
    "--megabytes",
    type=click.IntRange(1, 1024),
    help="Data to move each way, in MiB; default: 8, or 1 with --short.",
)
@click.option(
    "--length-km",
    type=click.FloatRange(0, 200),
    help="Fibre between the modems; default: 5, 50 for photon-number-splitting, or the preset's.",
)
@click.option(
    "--handshakes",
    type=click.IntRange(1, 10_000),
    help="Handshakes to time of each kind; default: 100, or 10 with --short.",
)
@click.option(
    "--device",
    metavar="NAME|URL",
    help="Instead of simulated modems, two emulated devices, such as box; or your own.",
)
@click.option("--peer-device", metavar="URL", help="The device at the other end of --device URL.")
@json_option
def demo(
    eve: str | None,
    fraction: float | None,
    short: bool,
    preset: str | None,
    megabytes: int | None,
    length_km: float | None,
    handshakes: int | None,
    device: str | None,
    peer_device: str | None,
    as_json: bool,
) -> None:
    """Distil keys between two modem processes and run TLS on them between two more.

    All on this machine, with simulated photons; nothing stays behind. Ctrl-C ends it. With
    --device the keys come from there, and what the demo takes of them is used up.
    """
    if eve and (device or peer_device):
        raise click.UsageError("--eve listens to simulated modems, not to a device.")
    if peer_device and not device:
        raise click.UsageError("--peer-device goes with --device.")
    if short and preset:
        raise click.UsageError("--short is a preset of its own.")
    preset = SHORT if short else preset or DEFAULT
    _require_extras("OpenSSL") if device else _require_extras("numpy", "zmq", "OpenSSL")
    settings = DemoSettings(
        preset=preset,
        megabytes=megabytes or (1 if short else 8),
        length_km=usual_length_km(eve, preset) if length_km is None else length_km,
        handshakes=handshakes or (10 if short else 100),
        device=device,
        peer_device=peer_device,
    )
    with narrator(silent=as_json) as tell:
        if eve:
            from qkd_hal.cli.demo.eve import run_eve

            report = run_eve(settings, eve, fraction, tell)
        else:
            from qkd_hal.cli.demo.run import run_demo

            report = run_demo(settings, tell)
    _print(report, as_json=as_json)


def _require_extras(*modules: str) -> None:
    # Its processes would say so too, but one by one, and the second after half a demo.
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise MissingExtraError(
            f"the demo needs the Python modules {', '.join(missing)}",
            cure="Run: pip install 'qkd-hal[sim,tls]'",
        )


def _print(report: dict[str, object], *, as_json: bool) -> None:
    from qkd_hal.cli.demo.report import print_demo, print_eve

    if as_json:
        print_json(report)
    elif "eve" in report:
        print_eve(report)
    else:
        print_demo(report)
