"""``qkd-hal demo``: the main job on one machine, from photons to TLS records."""

from __future__ import annotations

from importlib.util import find_spec

import click

from qkd_hal.cli._output import json_option, print_json
from qkd_hal.cli.demo.narrator import narrator
from qkd_hal.cli.demo.settings import DemoSettings
from qkd_hal.errors import MissingExtraError

__all__ = ["demo"]


@click.command()
@click.option(
    "--eve", type=click.Choice(["intercept-resend"]), help="Show how an eavesdropper is found."
)
@click.option(
    "--fraction",
    type=click.FloatRange(0, 1, min_open=True),
    default=1.0,
    show_default=True,
    help="How many of the photons Eve measures.",
)
@click.option("--short", is_flag=True, help="Ideal single photons in small blocks: a few seconds.")
@click.option(
    "--megabytes",
    type=click.IntRange(1, 1024),
    help="Data to move each way, in MiB; default: 8, or 1 with --short.",
)
@click.option(
    "--length-km",
    type=click.FloatRange(0, 200),
    default=5.0,
    show_default=True,
    help="Fibre between the modems.",
)
@click.option(
    "--handshakes",
    type=click.IntRange(1, 10_000),
    help="Handshakes to time of each kind; default: 100, or 10 with --short.",
)
@json_option
def demo(
    eve: str | None,
    fraction: float,
    short: bool,
    megabytes: int | None,
    length_km: float,
    handshakes: int | None,
    as_json: bool,
) -> None:
    """Distil keys between two modem processes and run TLS on them between two more.

    All on this machine, with simulated photons; nothing stays behind. Ctrl-C ends it.
    """
    _require_extras()
    settings = DemoSettings(
        short=short,
        megabytes=megabytes or (1 if short else 8),
        length_km=length_km,
        handshakes=handshakes or (10 if short else 100),
    )
    with narrator(silent=as_json) as tell:
        if eve:
            from qkd_hal.cli.demo.eve import run_eve

            report = run_eve(settings, fraction, tell)
        else:
            from qkd_hal.cli.demo.run import run_demo

            report = run_demo(settings, tell)
    _print(report, as_json=as_json)


def _require_extras() -> None:
    # Its processes would say so too, but one by one, and the second after half a demo.
    missing = [name for name in ("numpy", "zmq", "OpenSSL") if find_spec(name) is None]
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
