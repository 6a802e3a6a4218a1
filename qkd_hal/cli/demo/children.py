"""The demo's processes: each in a group of its own, and gone when the demo is."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any

from qkd_hal import errors
from qkd_hal.cli._process import uninterrupted
from qkd_hal.errors import DeadlineError, QKDError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import ExitStack
    from pathlib import Path

__all__ = ["Child", "start_child"]

_GRACE = 5.0  # seconds between asking a child to end and killing its group


class Child:
    """One ``qkd-hal`` command that prints JSON lines.

    Its own process group keeps the terminal's Ctrl-C from it: the demo ends its children in
    order. Its standard input is a pipe, whose end ends it should the demo be killed.
    """

    def __init__(self, name: str, arguments: Sequence[str], log: Path) -> None:
        self.name = name
        self._log = log
        with log.open("wb") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "qkd_hal", *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                process_group=0,
            )
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read_lines, name=f"{name}-output", daemon=True)
        self._reader.start()

    def read(self, timeout: float) -> dict[str, Any]:
        """Return the next object that the child prints.

        Raises:
            DeadlineError: nothing came within *timeout* seconds.
            QKDError: the child failed; the class is the one it failed with.
        """
        try:
            line = self._lines.get(timeout=timeout)
        except queue.Empty:
            raise DeadlineError(f"{self.name} said nothing for {timeout:g} s") from None
        answer: dict[str, Any] = json.loads(line) if line else self._last_words()
        if "error" in answer:
            raise _as_raised(self.name, **answer["error"])
        return answer

    def close(self) -> None:
        """End the child: politely, then by force; nothing of its group stays."""
        self._process.terminate()
        try:
            self._process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout):
            _close(pipe)

    def _read_lines(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(b"")

    def _last_words(self) -> dict[str, Any]:
        words = self._log.read_text(errors="replace").strip().splitlines() or ["without a word"]
        return {"error": {"code": QKDError.code, "message": f"it ended: {words[-1]}"}}


def _close(pipe: IO[bytes] | None) -> None:
    with suppress(BrokenPipeError):
        if pipe is not None:
            pipe.close()


def _as_raised(name: str, code: str, message: str) -> QKDError:
    classes: list[type[QKDError]] = [getattr(errors, each) for each in errors.__all__]
    matching = [each for each in classes if each.code == code] or [QKDError]
    return matching[0](f"{name}: {message}")


def start_child(stack: ExitStack, name: str, arguments: Sequence[str], log: Path) -> Child:
    """Start a child that ends with *stack*, even if Ctrl-C comes this very moment."""
    with uninterrupted():
        child = Child(name, arguments, log)
        stack.callback(child.close)
    return child
