"""The options that all figures share, and what they do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qkd_hal.cli._output import print_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from qkd_hal.cli.plot.chart import Chart

__all__ = ["SUFFIXES", "figure_options", "finish"]

SUFFIXES = (".png", ".svg")
_FILE = click.Path(path_type=Path, dir_okay=False, writable=True)


def figure_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add ``--out``, ``--csv`` and ``--json``."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print the numbers."),
        click.option("--csv", "csv_file", type=_FILE, help="Write the numbers."),
        click.option(
            "--out", type=_FILE, callback=_check_suffix, help="The figure, FILE.png or FILE.svg."
        ),
    ):
        command = option(command)
    return command


def finish(chart: Chart, out: Path | None, csv_file: Path | None, as_json: bool) -> None:
    """Write and print what was asked for.

    Raises:
        MissingExtraError: a figure was, and matplotlib is not installed.
    """
    if out is None and csv_file is None and not as_json:
        raise click.UsageError("name what to write: --out, --csv or --json")
    if out is not None:
        from qkd_hal.cli.plot.draw import draw  # slow to import, and of no use to the numbers

        draw(chart, out)
    if csv_file is not None:
        csv_file.write_text(chart.to_csv(), encoding="utf-8")
    if as_json:
        print_json(chart.to_json())


def _check_suffix(_: click.Context, __: click.Parameter, path: Path | None) -> Any:
    if path is not None and path.suffix not in SUFFIXES:
        raise click.BadParameter(f"a figure is a {' or '.join(SUFFIXES)} file")
    return path
