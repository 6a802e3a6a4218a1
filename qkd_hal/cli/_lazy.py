"""A click group whose commands are imported when they are run, not when they are listed."""

from __future__ import annotations

import importlib
import importlib.metadata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from qkd_hal.errors import ConfigurationError, MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["LazyCommand", "LazyGroup", "missing_extra"]

_EXTRA_OF = {"OpenSSL": "tls", "numpy": "sim", "zmq": "sim", "pytest": "test"}


@dataclass(frozen=True, slots=True)
class LazyCommand:
    """Where a command lives, ``"module:attribute"``, and the line that ``--help`` shows."""

    target: str
    summary: str

    def load(self) -> click.Command:
        """Import the command."""
        module, _, attribute = self.target.partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command


class LazyGroup(click.Group):
    """A group over a table of :class:`LazyCommand`, then the entry points of *plugins*.

    A plug-in cannot take the place of a command in the table.
    """

    def __init__(
        self, *args: Any, table: Mapping[str, LazyCommand], plugins: str, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._table = table
        self._plugins = plugins

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the table's order, plug-ins behind."""
        return list(self._summaries())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command *cmd_name*; ``None`` where there is none of that name."""
        if cmd_name in self._table:
            return self._table[cmd_name].load()
        return self._load_plugin(cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands from the table alone; click's own would import all."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self._summaries().items()))

    def _summaries(self) -> dict[str, str]:
        plugins = {
            point.name: f"From the package {_distribution(point)}."
            for point in importlib.metadata.entry_points(group=self._plugins)
        }
        return {name: row.summary for name, row in self._table.items()} | {
            name: text for name, text in sorted(plugins.items()) if name not in self._table
        }

    def _load_plugin(self, name: str) -> click.Command | None:
        points = tuple(importlib.metadata.entry_points(group=self._plugins, name=name))
        if len(points) > 1:
            owners = " and ".join(sorted(_distribution(point) for point in points))
            raise ConfigurationError(
                f"the command {name!r} comes from both {owners}", cure="Uninstall one of them"
            )
        return _load_point(points[0]) if points else None


def _distribution(point: importlib.metadata.EntryPoint) -> str:
    return point.dist.name if point.dist else "an unknown package"


def _load_point(point: importlib.metadata.EntryPoint) -> click.Command:
    command: click.Command = point.load()
    return command


def missing_extra(error: ModuleNotFoundError) -> MissingExtraError | None:
    """Name the extra that would bring the module *error* misses; ``None`` if none of ours."""
    module = (error.name or "").partition(".")[0]
    if module not in _EXTRA_OF:
        return None
    return MissingExtraError(
        f"this needs the Python module {module}, which is not installed",
        cure=f"Run: pip install 'qkd-hal[{_EXTRA_OF[module]}]'",
    )
