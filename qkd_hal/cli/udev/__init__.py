"""``qkd-hal udev``: let users other than root open QKD devices on Linux."""

from __future__ import annotations

from pathlib import Path

import click

from qkd_hal.cli.udev.rules import RULES_FILE, install_rules, read_rules, remove_rules

__all__ = ["udev"]

_root_option = click.option(
    "--root",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("/"),
    help="Work below this directory, for packages and images; udevd is then told nothing.",
)
_yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


@click.group()
def udev() -> None:
    """Give users access to QKD devices, by a rule for udev."""


@udev.command()
def show() -> None:
    """Print the rules."""
    click.echo(read_rules(), nl=False)


@udev.command()
@_root_option
@_yes_option
def install(root: Path, yes: bool) -> None:
    """Print the rules, ask, write them and have udevd use them; as root."""
    target = root / RULES_FILE
    if not yes:
        click.echo(read_rules())
        click.confirm(f"Write this to {target}?", abort=True)
    click.echo(f"Wrote {install_rules(root)}.")
    _announce(root)


@udev.command()
@_root_option
@_yes_option
def remove(root: Path, yes: bool) -> None:
    """Ask, remove the rules and have udevd forget them; as root."""
    target = root / RULES_FILE
    if not yes:
        click.confirm(f"Remove {target}?", abort=True)
    if remove_rules(root):
        click.echo(f"Removed {target}.")
        _announce(root)
    else:
        click.echo(f"There is no {target}.")


def _announce(root: Path) -> None:
    from qkd_hal.cli.udev.daemon import advice, reload_rules

    for line in [*([] if root != Path("/") else reload_rules()), *advice()]:
        click.echo(line)
