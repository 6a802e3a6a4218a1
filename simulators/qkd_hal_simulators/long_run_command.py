"""``qkd-hal modem long-run``: a day of a link, told by the quarter of an hour."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from qkd_hal_simulators._channel_options import CHANNEL_OPTIONS, channel_from
from qkd_hal_simulators.long_run import RunSettings, long_run
from qkd_hal_simulators.presets import PRESETS

if TYPE_CHECKING:
    from qkd_hal_simulators.long_run import Interval, LongRun

__all__ = ["long_run_command"]

_RUN = RunSettings()
_ROWS_PER_HOUR = 4
_HEAD = "hours  blocks  aborted    QBER  off, mrad  net bit/s"


@click.command("long-run")
@click.option("--preset", type=click.Choice(list(PRESETS)), default="lim-2014", show_default=True)
@click.option("--hours", type=click.FloatRange(0, min_open=True), default=24.0, show_default=True)
@click.option(
    "--drift-mrad",
    type=click.FloatRange(0),
    default=_RUN.drift_mrad,
    show_default=True,
    help="How far the polarisation wanders in an hour, root mean square.",
)
@click.option("--feedback/--no-feedback", default=True, help="Let the receiver follow it.")
@click.option("--seed", default=0, show_default=True, help="The same seed gives the same run.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def long_run_command(preset: str, hours: float, as_json: bool, **options: Any) -> None:
    """Simulate a day of a link that drifts, in seconds to minutes.

    Blocks are counted and their keys' lengths computed; no key is made.
    """
    chosen = PRESETS[preset]
    channel = channel_from(chosen.channel, options)
    rows = max(1, round(_ROWS_PER_HOUR * hours))
    settings = RunSettings(seconds=hours * 3600, intervals=rows, **options)
    run = long_run(chosen.parameters, channel, settings)
    click.echo(json.dumps(run.to_json()) if as_json else "\n".join(_table(run)))


for _option in reversed(CHANNEL_OPTIONS):
    long_run_command = _option(long_run_command)


def _table(run: LongRun) -> list[str]:
    rows = [_row(f"{one.begin / 3600:5.2f}", one) for one in run.intervals]
    return [_HEAD, *rows, _row("total", run.total)]


def _row(when: str, one: Interval) -> str:
    return (
        f"{when}  {one.blocks:6.0f}  {one.aborted:7.0f}  {one.qber:6.2%}  "
        f"{one.off_mrad:9.1f}  {one.net_bits_per_second:9.0f}"
    )
