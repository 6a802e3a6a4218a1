"""Figure: what an eavesdropper costs, and what she learns, as her share of the pulses grows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, cast

import click

from qkd_hal import plugins
from qkd_hal.cli.plot.chart import Chart, Curve, Panel
from qkd_hal.cli.plot.output import figure_options, finish
from qkd_hal.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["Point", "Sweep", "chart", "eve"]

_GROUP = "qkd_hal.eavesdropping"
_SHARES = (0.0, 0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0)
_CAPTION = (
    "Simulated BB84 link, preset “{preset}”, {pulses:,} pulses a point, seed {seed}. QBER of the "
    "test basis; key by the finite-key bound of the engine; Eve's Shannon information on the "
    "sifted key before error correction, her guesses being made after the bases are announced."
)


class Point(Protocol):
    """One share of the pulses, simulated: error rate, sifted, secret and Eve's bits."""

    share: float
    qber: float
    sifted_bits: int
    secret_bits: int
    eve_bits: float


class Sweep(Protocol):
    """What a simulator offers as entry point ``sweep`` of ``qkd_hal.eavesdropping``."""

    def __call__(
        self, attack_name: str, shares: Sequence[float], *, preset: str, pulses: int, seed: int
    ) -> Sequence[Point]:
        """Simulate *pulses* for each share, repeatably."""
        ...


@click.command()
@click.option(
    "--attack",
    "attacks",
    multiple=True,
    metavar="NAME[:OPTION=VALUE,…]",
    default=("intercept-resend", "photon-number-splitting"),
    show_default=True,
    help="As `qkd-hal demo --eve` takes it; repeat.",
)
@click.option("--preset", default="default", show_default=True, help="Of `qkd-hal modem`.")
@click.option("--pulses", default=1 << 22, show_default=True, type=click.IntRange(1000))
@click.option("--seed", default=1, show_default=True)
@figure_options
def eve(
    attacks: tuple[str, ...],
    preset: str,
    pulses: int,
    seed: int,
    out: Path | None,
    csv_file: Path | None,
    as_json: bool,
) -> None:
    """Draw QBER, key and Eve's knowledge against the share of pulses that she taps.

    Simulates the light: some ten seconds with the defaults.
    """
    made = chart(attacks, _SHARES, preset=preset, pulses=pulses, seed=seed)
    finish(made, out, csv_file, as_json)


def chart(attacks: Sequence[str], shares: Sequence[float], **settings: Any) -> Chart:
    """Return the figure's numbers; *settings* are those of :class:`Sweep`."""
    sweep = _simulator()
    found = {attack: sweep(attack, shares, **settings) for attack in attacks}
    key = [_share_of_sifted(attack, points, "secret_bits") for attack, points in found.items()]
    known = [_share_of_sifted(attack, points, "eve_bits") for attack, points in found.items()]
    panels = (
        Panel("QBER", tuple(_qber(*one) for one in found.items()), percent=True),
        Panel("Secret bits / sifted bits", tuple(key), percent=True),
        Panel("Eve's information / sifted bits", tuple(known), percent=True),
    )
    caption = _CAPTION.format(**settings)
    return Chart("eve", "Share of pulses that Eve taps", panels, caption, x_percent=True)


def _qber(attack: str, points: Sequence[Point]) -> Curve:
    return Curve(attack, tuple(p.share for p in points), tuple(p.qber for p in points))


def _share_of_sifted(attack: str, points: Sequence[Point], name: str) -> Curve:
    y = tuple(getattr(point, name) / max(1, point.sifted_bits) for point in points)
    return Curve(attack, tuple(point.share for point in points), y)


def _simulator() -> Sweep:
    for point in plugins.found(_GROUP):
        if point.name == "sweep":
            return cast("Sweep", plugins.load(point))
    raise ConfigurationError(
        "no installed package simulates an eavesdropper", cure="Run: pip install 'qkd-hal[sim]'"
    )
