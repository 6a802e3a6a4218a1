"""Commands are listed without being imported, and other packages can add some."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner

from qkd_hal.cli._lazy import LazyCommand, LazyGroup
from qkd_hal.cli.commands import COMMANDS, root
from qkd_hal.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HEAVY = ("numpy", "zmq", "OpenSSL", "cryptography", "sqlite3", "rich", "qkd_hal_simulators")
GREETING = "import click\n@click.command()\ndef greet(): click.echo('good day')\n"


def modules_after(*arguments: str, environment: dict[str, str]) -> set[str]:
    program = (
        "import sys, json\nfrom qkd_hal.cli import main\n"
        f"try: main({list(arguments)!r})\n"
        "except SystemExit: print(json.dumps(sorted(sys.modules)), file=sys.stderr)\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, check=True, env=environment)
    return set(json.loads(done.stderr))


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("devices", "--help")])
def test_help_imports_nothing_heavy(
    arguments: tuple[str, ...], bare_environment: dict[str, str]
) -> None:
    assert not modules_after(*arguments, environment=bare_environment) & set(HEAVY)


def test_help_names_every_command_with_its_summary() -> None:
    shown = CliRunner().invoke(root, ["--help"], terminal_width=120).output
    for name, row in COMMANDS.items():
        assert f"{name} " in shown
        assert row.summary in shown
    assert "modem" in shown


@pytest.mark.parametrize("name", COMMANDS)
def test_every_row_of_the_table_loads(name: str) -> None:
    command = COMMANDS[name].load()
    assert isinstance(command, click.Command)
    assert command.name == name


def test_a_package_adds_a_command(
    package: Callable[..., Path], qkd_hal: Callable[..., Done]
) -> None:
    folder = package("greeter", {"greet": "greeter:greet"}, GREETING)
    assert "From the package greeter." in qkd_hal("--help", PYTHONPATH=str(folder)).stdout
    assert qkd_hal("greet", PYTHONPATH=str(folder)).stdout == "good day\n"


def test_a_package_cannot_replace_a_command(
    package: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(package("impostor", {"get-key": "impostor:greet"}, GREETING))
    found = root.get_command(click.Context(root), "get-key")
    assert found is COMMANDS["get-key"].load()


def test_two_packages_with_one_command_are_both_named(
    package: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("first", "second"):
        monkeypatch.syspath_prepend(package(name, {"greet": f"{name}:greet"}, GREETING))
    with pytest.raises(ConfigurationError, match="both first and second"):
        root.get_command(click.Context(root), "greet")


def test_commands_stand_in_the_order_of_the_table() -> None:
    table = {name: LazyCommand("nowhere:at_all", name) for name in ("zebra", "ape")}
    group = LazyGroup("zoo", table=table, group="qkd_hal.no_such_group")
    assert group.list_commands(click.Context(group)) == ["zebra", "ape"]


Done = subprocess.CompletedProcess[str]
