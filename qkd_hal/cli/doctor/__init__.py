"""``qkd-hal doctor``: what is wrong with this machine, and what to do about it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from qkd_hal.cli._output import json_option, print_json, print_table
from qkd_hal.cli.doctor._check import Check, Outcome, failed, skipped
from qkd_hal.config import (
    Configuration,
    configuration_paths,
    example_configuration,
    load_configuration,
)
from qkd_hal.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["doctor"]

_MARKS = {Outcome.PASSED: "ok", Outcome.SKIPPED: "--", Outcome.FAILED: "FAILED"}


@click.command()
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="The qkd-hal.toml to check; default: $QKD_HAL_CONFIG, ./, the user's, /etc/qkd-hal.",
)
@click.option("--example", is_flag=True, help="Print an example of qkd-hal.toml and exit.")
@json_option
@click.pass_context
def doctor(ctx: click.Context, config: Path | None, example: bool, as_json: bool) -> None:
    """Check permissions, OpenSSL, extras, clocks, devices and links, each with its cure.

    Exits 0 when nothing failed, and 1 otherwise.
    """
    if example:
        click.echo(example_configuration(), nl=False)
        return
    checks = list(_examine(config))
    healthy = all(check.outcome is not Outcome.FAILED for check in checks)
    if as_json:
        print_json({"healthy": healthy, "checks": [check.to_json() for check in checks]})
    else:
        print_table(("", "check", "found", "cure"), map(_to_row, checks))
    ctx.exit(0 if healthy else 1)


def _examine(config: Path | None) -> Iterator[Check]:
    from qkd_hal.cli.doctor.files import check_files
    from qkd_hal.cli.doctor.machine import check_machine
    from qkd_hal.cli.doctor.reach import check_reach

    configuration = Configuration()
    try:
        configuration = load_configuration(config)
    except ConfigurationError as error:
        yield _without_configuration(error, wanted=_is_wanted(config))
    yield from check_machine(_extras_of(configuration))
    yield from check_files(configuration)
    yield from check_reach(configuration)


def _is_wanted(config: Path | None) -> bool:
    named = config is not None or "QKD_HAL_CONFIG" in os.environ
    return named or any(path.exists() for path in configuration_paths())


def _without_configuration(error: ConfigurationError, *, wanted: bool) -> Check:
    report = failed if wanted else skipped
    return report("configuration", error.what, error.cure or "Correct the file")


def _extras_of(configuration: Configuration) -> set[str]:
    # Pools exist to key TLS; which extra a device needs its driver says when it is opened.
    return {"tls"} if configuration.pools else set()


def _to_row(check: Check) -> tuple[str, ...]:
    return (_MARKS[check.outcome], check.name, check.detail, check.cure or "")
