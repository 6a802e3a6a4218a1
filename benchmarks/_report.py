"""What every benchmark prints: a table for people, or one JSON object."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass

__all__ = ["Row", "lines", "main"]


@dataclass(frozen=True, slots=True)
class Row:
    """One result: ``ratio`` is *value* over that of *peer*, the best rival measured beside it."""

    name: str
    value: float
    unit: str
    peer: str = ""
    ratio: float | None = None


def main(name: str, measure: Callable[[bool], Iterable[Row]]) -> None:
    """Run *measure* (its argument: quick) and print its rows as the command line asks."""
    parser = argparse.ArgumentParser(prog=name)
    parser.add_argument("--quick", action="store_true", help="end within 50 seconds")
    parser.add_argument("--json", action="store_true", help="one object on stdout")
    arguments = parser.parse_args()
    rows = list(measure(arguments.quick))
    if arguments.json:
        print(json.dumps({"rows": [asdict(row) for row in rows]}))
        return
    print("\n".join(lines(rows)))


def lines(rows: Iterable[Row]) -> Iterable[str]:
    """Return the table for people, a line per row."""
    for row in rows:
        against = f"{row.ratio:6.2f} x {row.peer}" if row.ratio is not None else ""
        yield f"{row.name:32} {row.value:12.3f} {row.unit:12} {against}".rstrip()
