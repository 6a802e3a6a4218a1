"""``qkd-hal plot``: figures for a paper, from the code that makes the keys."""

from __future__ import annotations

import click

from qkd_hal.cli.plot.eve import eve
from qkd_hal.cli.plot.net_gain import net_gain_command
from qkd_hal.cli.plot.rate_distance import rate_distance

__all__ = ["plot"]


@click.group(commands=[rate_distance, eve, net_gain_command])
def plot() -> None:
    """Draw figures, and write the numbers in them."""
