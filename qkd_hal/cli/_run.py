"""Run a command and turn what it raises into one line and an exit code."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from qkd_hal.cli._output import printable
from qkd_hal.cli._process import EXIT_INTERRUPTED
from qkd_hal.errors import MissingExtraError, QKDError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["run"]

_EXTRA_OF = {"OpenSSL": "tls", "matplotlib": "plot", "numpy": "sim", "zmq": "sim"}


@dataclass(frozen=True, slots=True)
class Failure:
    """What the user, and a program that reads ``--json``, are told."""

    code: str
    message: str
    exit_code: int


def run(command: click.Command, arguments: Sequence[str]) -> int:
    """Run *command* and return the exit code of the process.

    A failure is one line on standard error, ``error [code]: message``, and with ``--json``
    also one object on standard output. An exception of no known kind is a bug of ours: it
    passes through, with its traceback.
    """
    try:
        outcome = command.main(list(arguments), prog_name="qkd-hal", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        return _reader_left()
    except click.exceptions.NoArgsIsHelpError as bare:
        bare.show()
        return bare.exit_code
    except Exception as error:
        failure = _describe(error)
        if failure is None:
            raise
        _report(failure, as_json="--json" in arguments)
        return failure.exit_code
    return outcome if isinstance(outcome, int) else 0


def _describe(error: Exception) -> Failure | None:
    if isinstance(error, ModuleNotFoundError):
        error = _missing_extra(error) or error
    match error:
        case QKDError():
            return Failure(error.code, str(error), error.exit_code)
        case click.Abort():
            return Failure("interrupted", "stopped by Ctrl-C", EXIT_INTERRUPTED)
        case click.ClickException():
            return Failure("usage", _with_hint(error), error.exit_code)
        case OSError():
            return Failure("system", str(error), 1)
    return None


def _missing_extra(error: ModuleNotFoundError) -> MissingExtraError | None:
    module = (error.name or "").partition(".")[0]
    if module not in _EXTRA_OF:
        return None
    return MissingExtraError(
        f"this needs the Python module {module}, which is not installed",
        cure=f"Run: pip install 'qkd-hal[{_EXTRA_OF[module]}]'",
    )


def _with_hint(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    if context is None:
        return error.format_message()
    what = error.format_message().rstrip(".")  # click ends only some of its messages
    return f"{what}. Try '{context.command_path} --help'."


def _report(failure: Failure, *, as_json: bool) -> None:
    line = printable(" ".join(failure.message.split()))
    click.echo(f"error [{failure.code}]: {line}", err=True)
    if as_json:
        click.echo(json.dumps({"error": {"code": failure.code, "message": line}}))


def _reader_left() -> int:
    """Whoever read our output has gone: end quietly, as other filters do."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1
