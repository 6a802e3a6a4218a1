"""A click group whose commands are imported when they are run, not when they are listed."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import click

from qkd_hal import plugins
from qkd_hal.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["LazyCommand", "LazyGroup"]


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
    """A group over a table of :class:`LazyCommand`, then the entry points of *group*.

    A plug-in cannot take the place of a command in the table.
    """

    def __init__(
        self, *args: Any, table: Mapping[str, LazyCommand], group: str, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._table = table
        self._plugins = group

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
        foreign = {
            point.name: f"From the package {plugins.owner(point)}."
            for point in plugins.found(self._plugins)
            if point.name not in self._table
        }
        return {name: row.summary for name, row in self._table.items()} | foreign

    def _load_plugin(self, name: str) -> click.Command | None:
        points = [point for point in plugins.found(self._plugins) if point.name == name]
        if len(points) > 1:
            owners = " and ".join(plugins.owner(point) for point in points)
            raise ConfigurationError(
                f"the command {name!r} comes from both {owners}", cure="Uninstall one of them"
            )
        return cast("click.Command", plugins.load(points[0])) if points else None
