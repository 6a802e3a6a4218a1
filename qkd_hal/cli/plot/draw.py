"""Draws a chart by matplotlib: the same file each time, legible in print and without colours."""

from __future__ import annotations

import textwrap
from itertools import cycle
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import PercentFormatter

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

    from qkd_hal.cli.plot.chart import Chart, Panel

__all__ = ["draw"]

# Okabe and Ito, "Color Universal Design" (2008), without the yellow, which paper swallows.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_WIDTH, _CAPTION_LINE = 6.3, 0.13  # inches; the width of a text block
_HEIGHT, _PANEL_HEIGHT = 1.4, 2.2  # of what all panels share, and of each
_CAPTION_CHARACTERS = 120
_NO_BREAK = "\N{NO-BREAK SPACE}"
_DOTS_PER_INCH = 200
_STYLE: Any = {  # matplotlib's own type of it changes with its version
    "svg.hashsalt": "qkd-hal",  # else the identifiers in an SVG are random
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 9,
    "axes.grid": True,
    "grid.linewidth": 0.4,
    "grid.alpha": 0.5,
    "lines.linewidth": 1.4,
    "lines.markersize": 4,
    "legend.fontsize": 8,
}


def draw(chart: Chart, path: Path) -> None:
    """Write *chart* to *path*, a ``.png`` or ``.svg``."""
    text = chart.caption.replace("~", _NO_BREAK)
    lines = textwrap.wrap(text, _CAPTION_CHARACTERS, break_on_hyphens=False)
    below = _CAPTION_LINE * (len(lines) + 1)
    with mpl.rc_context(_STYLE):
        height = _HEIGHT + _PANEL_HEIGHT * len(chart.panels) + below
        room = ConstrainedLayoutEngine(rect=(0, below / height, 1, 1 - below / height))
        figure = Figure(figsize=(_WIDTH, height), layout=room)
        axes = figure.subplots(len(chart.panels), sharex=True, squeeze=False)[:, 0]
        for one, panel in zip(axes, chart.panels, strict=True):
            _draw_panel(one, panel)
        axes[0].legend()  # the curves of all panels look alike
        axes[-1].set_xlabel(chart.x_label)
        if chart.x_percent:
            axes[-1].xaxis.set_major_formatter(PercentFormatter(1.0))
        figure.text(0.02, 0.01, "\n".join(lines), fontsize=7, va="bottom")
        # Neither a date nor a version: the same numbers make the same file.
        metadata = {"Date": None} if path.suffix == ".svg" else {"Software": None}
        figure.savefig(path, dpi=_DOTS_PER_INCH, metadata=metadata)


def _draw_panel(axes: Axes, panel: Panel) -> None:
    looks = zip(cycle(_COLOURS), cycle(_MARKERS), panel.curves, strict=False)
    for colour, marker, curve in looks:
        axes.plot(
            curve.x,
            curve.y,
            label=curve.label,
            color=colour,
            marker=marker,
            linestyle="--" if curve.dashed else "-",
        )
    if panel.y_log:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=min(0.0, *(y for curve in panel.curves for y in curve.y)))
    if panel.percent:
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_ylabel(panel.y_label)
