"""How a mock's process lives: it says when it is ready, and ends by signal or with its parent."""

from __future__ import annotations

import json
import os
import signal
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["announce", "ending", "life_options"]

_GRACE_SECONDS = 5.0  # between a parent's death and the end by force


def life_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add ``--ready-file`` and ``--die-with-parent`` to a mock's command."""
    file = click.Path(path_type=Path, dir_okay=False)
    command = click.option("--die-with-parent", is_flag=True, help="End when stdin ends.")(command)
    return click.option("--ready-file", type=file, help="Written once all is open.")(command)


def announce(fields: Mapping[str, object], ready_file: Path | None) -> None:
    """Print *fields* as one line of JSON, and put it whole into *ready_file*."""
    line = json.dumps({**fields, "pid": os.getpid()})
    if ready_file is not None:
        draft = ready_file.with_name(f"{ready_file.name}.{os.getpid()}")
        draft.write_text(line + "\n")
        draft.replace(ready_file)
    click.echo(line)


@contextmanager
def ending(
    *, with_parent: bool, hear: Callable[[bytes], None] | None = None
) -> Iterator[threading.Event]:
    """Give an event that SIGINT, SIGTERM or, if asked, the end of standard input sets.

    *hear* gets each line of standard input, in a thread.
    """
    stop, finished = threading.Event(), threading.Event()
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda *_: stop.set()) for number in numbers]
    if with_parent or hear:
        threading.Thread(
            target=_watch_parent, args=(stop, finished, with_parent, hear), daemon=True
        ).start()
    try:
        yield stop
    finally:
        finished.set()
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _watch_parent(
    stop: threading.Event,
    finished: threading.Event,
    with_parent: bool,
    hear: Callable[[bytes], None] | None,
) -> None:
    heard = b""
    while data := os.read(0, 4096):
        *lines, heard = (heard + data).split(b"\n")
        if hear:
            for line in lines:
                hear(line)
    if not with_parent:
        return
    stop.set()
    if not finished.wait(_GRACE_SECONDS):
        os._exit(1)  # nobody is left to wait for a mock that hangs
