"""Figure: what a QSSL session of so many sifted bits gains, by each analysis."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from qkd_hal.cli.plot.chart import Chart, Curve, Panel
from qkd_hal.cli.plot.output import figure_options, finish

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["chart", "net_gain_command"]

_LINES = {  # field of QSSLGain: label
    "individual": "individual attacks (Bennett et al. 1992)",
    "asymptotic": "asymptotic (Shor and Preskill 2000)",
    "best_sample": r"$\epsilon = 10^{-10}$, exact sampling, best sample",
    "exact": r"$\epsilon = 10^{-10}$, exact sampling, 20 % disclosed",
    "net": "the same, two 128-bit tags paid",
    "serfling": r"$\epsilon = 10^{-10}$, Serfling's bound",
}
_ASYMPTOTIC = {"individual", "asymptotic"}
_CAPTION = (
    "QSSL session (Faraj 2008): QBER 5~%, 20~% of the sifted bits disclosed, f = 1.06. Dashed: no "
    "finite-size analysis, amplification to 1e-70. Solid: composable, epsilon = 1e-10 in all; "
    "Serfling's bound by Tomamichel et al., Nat. Commun. 3, 634 (2012), exact hypergeometric "
    "sampling by Tomamichel and Leverrier, Quantum 1, 14 (2017)."
)


@click.command("net-gain")
@click.option("--from", "first", default=5000, show_default=True, type=click.IntRange(1000))
@click.option("--to", "last", default=50_000, show_default=True, type=click.IntRange(1000))
@click.option("--step", default=2500, show_default=True, type=click.IntRange(100))
@figure_options
def net_gain_command(
    first: int, last: int, step: int, out: Path | None, csv_file: Path | None, as_json: bool
) -> None:
    """Draw the net key of a QSSL session against its sifted bits."""
    finish(chart(range(first, last + 1, step)), out, csv_file, as_json)


def chart(sizes: Iterable[int]) -> Chart:
    """Return the figure's numbers."""
    from qkd_hal.distillation.qssl import net_gain

    gains = [net_gain(size) for size in sizes]
    x = tuple(float(gain.sifted) for gain in gains)
    curves = tuple(
        Curve(label, x, tuple(float(getattr(gain, name)) for gain in gains), name in _ASYMPTOTIC)
        for name, label in _LINES.items()
    )
    panel = Panel("Net key gain (bit)", curves)
    return Chart("net-gain", "Sifted bits of the session (bit)", (panel,), _CAPTION)
