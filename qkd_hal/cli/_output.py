"""How commands print: a table for people, or with ``--json`` one object on one line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["json_option", "print_json", "print_pairs", "print_table", "printable"]

_LARGE = 1000.0  # figures from here on need no digits behind the point
_UNSHOWN = "\N{REPLACEMENT CHARACTER}"

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object instead of a table."
)


def printable(value: object) -> str:
    """Return *value* as one line that cannot steer a terminal: names come from devices."""
    return "".join(c if c.isprintable() else _UNSHOWN for c in str(value))


def print_json(value: Mapping[str, Any]) -> None:
    """Print *value* on one line of standard output."""
    click.echo(json.dumps(value, allow_nan=False))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, title: str = "") -> None:
    """Print *rows* under *columns*, as wide as the terminal allows."""
    from rich.console import Console  # slow to import, and of no use to --help and --json
    from rich.table import Column, Table

    # Folded, not cut: what is cut off a path or a cure is what the reader needs.
    headers = [Column(name, overflow="fold") for name in columns]
    table = Table(*headers, title=title or None, title_justify="left")
    for row in rows:
        table.add_row(*("\n".join(map(printable, cell.split("\n"))) for cell in row))
    Console(markup=False, highlight=False).print(table)


def print_pairs(pairs: Mapping[str, object], *, title: str) -> None:
    """Print *title*, then names and values below one another; absent values as a dash."""
    click.echo(printable(title))
    rows = [(name.replace("_", " "), _figure(value)) for name, value in pairs.items()]
    width = max((len(name) for name, _ in rows), default=0)
    for name, value in rows:
        click.echo(printable(f"  {name:{width}}  {value}"))


def _figure(value: object) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:,.4g}" if abs(value) < _LARGE else f"{value:,.0f}"
    return str(value)
