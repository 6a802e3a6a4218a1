"""One line on standard error, one object with --json, one exit code per class."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import click
import pytest

from qkd_hal import errors
from qkd_hal.cli._output import print_pairs
from qkd_hal.cli._process import EXIT_INTERRUPTED
from qkd_hal.cli._run import run

if TYPE_CHECKING:
    from collections.abc import Callable

Done = subprocess.CompletedProcess[str]


def failing(error: BaseException) -> click.Command:
    @click.command()
    @click.option("--json", is_flag=True)
    def fail(json: bool) -> None:
        raise error

    return fail


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_class_ends_in_its_own_code(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    error = getattr(errors, name)("it broke", device="lab", cure="Mend it")
    assert run(failing(error), ["--json"]) == error.exit_code
    shown = capsys.readouterr()
    message = "it broke (device lab). Mend it"
    assert shown.err == f"error [{error.code}]: {message}\n"
    assert json.loads(shown.out) == {"error": {"code": error.code, "message": message}}


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (KeyboardInterrupt(), EXIT_INTERRUPTED, "error [interrupted]: stopped by Ctrl-C"),
        (
            FileNotFoundError(2, "No such file", "x"),
            1,
            "error [system]: [Errno 2] No such file: 'x'",
        ),
        (
            ModuleNotFoundError("No module named 'zmq'", name="zmq"),
            3,
            "error [missing-extra]: this needs the Python module zmq, which is not installed. "
            "Run: pip install 'qkd-hal[sim]'",
        ),
        (
            errors.DeviceError("two\nlines \x1b[31mred"),
            4,
            "error [device]: two lines \ufffd[31mred",
        ),
    ],
)
def test_other_failures_are_one_plain_line(
    error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(failing(error), []) == code
    shown = capsys.readouterr()
    assert shown.err.strip() == line
    assert shown.out == ""


@pytest.mark.parametrize("error", [ZeroDivisionError(), ModuleNotFoundError(name="elsewhere")])
def test_a_bug_keeps_its_traceback(error: Exception) -> None:
    with pytest.raises(type(error)):
        run(failing(error), [])


@pytest.mark.parametrize(
    "arguments", [("no-such-command",), ("devices", "--no-such-option"), ("devices", "more")]
)
def test_wrong_use_exits_2_and_points_to_help(
    arguments: tuple[str, ...], qkd_hal: Callable[..., Done]
) -> None:
    done = qkd_hal(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("error [usage]: ")
    assert re.search(r"[^.]\. Try 'qkd-hal.* --help'\.$", done.stderr)
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("group", [(), ("pool",)])
def test_a_bare_group_shows_its_help(group: tuple[str, ...], qkd_hal: Callable[..., Done]) -> None:
    bare, asked = qkd_hal(*group), qkd_hal(*group, "--help")
    assert (bare.returncode, bare.stdout) == (2, "")
    assert bare.stderr == asked.stdout


def test_ctrl_c_while_modules_load_leaves_no_traceback() -> None:
    program = (
        "import builtins, sys\n"
        "real = builtins.__import__\n"
        "def stop(name, *rest):\n"
        "    if name == 'click': raise KeyboardInterrupt\n"
        "    return real(name, *rest)\n"
        "from qkd_hal.cli import main\n"
        "builtins.__import__ = stop\n"
        "main(['--version'])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (EXIT_INTERRUPTED, b"")


def test_a_reader_that_leaves_is_no_error() -> None:
    program = f"{sys.executable} -m qkd_hal --help | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("1\n", "")


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (True, "yes"), (1234567, "1,234,567"), (0.0123, "0.0123"), (5e4, "50,000")],
)
def test_figures_are_written_for_people(
    value: object, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    print_pairs({"some_name": value, "x": "\x1b[31m\ny: no"}, title="a title")
    shown = f"a title\n  some name  {text}\n  x          \ufffd[31m\ufffdy: no\n"
    assert capsys.readouterr().out == shown, "a device makes no line of its own"
