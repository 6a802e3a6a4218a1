"""How the demo says what it does, while it does it: a bar, plain lines, or nothing."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Narrator", "narrator"]

_LINE_EVERY = 1.0  # seconds between lines where no bar can be drawn


class Narrator(Protocol):
    """What the stages of the demo tell; all of it goes to standard error."""

    def say(self, text: str) -> None:
        """Announce a stage."""
        ...

    def show(self, fraction: float, figures: str) -> None:
        """Show how far the stage has come, between 0 and 1, and its numbers."""
        ...


class _Silent:
    def say(self, text: str) -> None:
        pass

    def show(self, fraction: float, figures: str) -> None:
        pass


class _Lines:
    def __init__(self) -> None:
        self._next = 0.0

    def say(self, text: str) -> None:
        click.echo(text, err=True)

    def show(self, fraction: float, figures: str) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _LINE_EVERY
            click.echo(f"  {figures}", err=True)


class _Bar:
    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

        self.progress = Progress(
            SpinnerColumn(),
            BarColumn(bar_width=24),
            TextColumn("{task.description}", markup=False),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self.progress.add_task("", total=1.0)

    def say(self, text: str) -> None:
        self.progress.console.print(text, markup=False, highlight=False)
        self.progress.reset(self._task, description="")

    def show(self, fraction: float, figures: str) -> None:
        # Before the first block nobody can say how far it is: the bar only moves.
        total = 1.0 if fraction else None
        self.progress.update(self._task, completed=fraction, total=total, description=figures)


@contextmanager
def narrator(*, silent: bool) -> Iterator[Narrator]:
    """Give the narrator that suits standard error."""
    if silent:
        yield _Silent()
    elif not sys.stderr.isatty():
        yield _Lines()
    else:
        bar = _Bar()
        with bar.progress:
            yield bar
