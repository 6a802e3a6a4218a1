"""``qkd-hal-mock tdc1``: the time-stamp unit on a pseudo-terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from qkd_hal_firmware_mocks.lifetime import announce, ending, life_options
from qkd_hal_firmware_mocks.pty_line import PtyLine
from qkd_hal_firmware_mocks.tdc1.clicks import steady_clicks
from qkd_hal_firmware_mocks.tdc1.firmware import Tdc1Firmware

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["tdc1"]


@click.command()
@click.option("--rates", default="2000,2000,500,500", show_default=True, help="Clicks/s per input.")
@click.option("--grid-hz", type=click.IntRange(1), help="Clicks fall on pulses of this rate.")
@click.option("--seed", default=1, show_default=True, help="Of the clicks; they repeat with it.")
@life_options
def tdc1(
    rates: str, grid_hz: int | None, seed: int, ready_file: Path | None, die_with_parent: bool
) -> None:
    """Run an S-Fifteen TDC1 time-stamp unit on a pseudo-terminal."""
    per_input = _rates(rates)
    firmware = Tdc1Firmware(lambda: steady_clicks(per_input, seed=seed, grid_hz=grid_hz))
    with ending(with_parent=die_with_parent) as stop, PtyLine(firmware) as line:
        announce({"device": "tdc1", "port": line.path, "url": f"tdc1://{line.path}"}, ready_file)
        stop.wait()


def _rates(text: str) -> list[float]:
    try:
        rates = [float(part) for part in text.split(",")]
    except ValueError:
        rates = []
    if len(rates) != 4 or not all(0 <= rate <= 1e6 for rate in rates):
        raise click.BadParameter("--rates has four numbers from 0 to 1000000")
    return rates
