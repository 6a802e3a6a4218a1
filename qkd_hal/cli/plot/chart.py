"""What a figure shows, apart from how it is drawn; as CSV and as JSON."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Chart", "Curve", "Panel"]


@dataclass(frozen=True, slots=True)
class Curve:
    """Points of one line; *dashed* for what is only compared with."""

    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """One pair of axes; labels name quantity and unit. *percent*: y is a share of one."""

    y_label: str
    curves: tuple[Curve, ...]
    y_log: bool = False
    percent: bool = False


@dataclass(frozen=True, slots=True)
class Chart:
    """Panels below one another, over one x axis.

    *caption* names the model and its source; ``~`` in it is a space at which no line ends.
    """

    name: str
    x_label: str
    panels: tuple[Panel, ...]
    caption: str
    x_percent: bool = False

    def to_csv(self) -> str:
        """Return a row for each point: panel, curve, x, y."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(("y_label", "curve", self.x_label, "y"))
        for panel in self.panels:
            for curve in panel.curves:
                for x, y in zip(curve.x, curve.y, strict=True):
                    writer.writerow((panel.y_label, curve.label, repr(x), repr(y)))
        return out.getvalue()

    def to_json(self) -> dict[str, Any]:
        """Return the chart as plain values."""
        return {**asdict(self), "caption": self.caption.replace("~", " ")}
