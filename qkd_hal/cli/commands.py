"""The table of commands. A new command is one row here and a module of its own."""

from __future__ import annotations

import logging

import click

from qkd_hal import __version__
from qkd_hal.cli._lazy import LazyCommand, LazyGroup

__all__ = ["COMMANDS", "root"]

COMMANDS = {
    "demo": LazyCommand(
        "qkd_hal.cli.demo:demo", "Distil keys between two processes and run TLS on them."
    ),
    "doctor": LazyCommand(
        "qkd_hal.cli.doctor:doctor", "Check this machine and its configuration, with cures."
    ),
    "devices": LazyCommand("qkd_hal.cli.devices:devices", "List devices that are plugged in."),
    "udev": LazyCommand("qkd_hal.cli.udev:udev", "Give users access to devices on Linux."),
    "info": LazyCommand("qkd_hal.cli.info:info", "Say what a device is."),
    "status": LazyCommand("qkd_hal.cli.status:status", "Say how a device fares."),
    "get-key": LazyCommand("qkd_hal.cli.get_key:get_key", "Fetch one key into a private file."),
    "pool": LazyCommand("qkd_hal.pool._cli:pool", "Look into a key pool."),
    "token": LazyCommand("qkd_hal.cli.token:token", "Fill key tokens and look after them."),
    "plot": LazyCommand("qkd_hal.cli.plot:plot", "Draw figures for a paper."),
    "audit": LazyCommand(
        "qkd_hal.cli.audit:audit", "Derive a recorded session's keys again, and check it."
    ),
    "plan": LazyCommand("qkd_hal.cli.plan:plan", "Find the best settings of an optical link."),
    "tls": LazyCommand("qkd_hal.cli.tls:tls", "Serve or connect with TLS 1.3 keyed by QKD."),
}


@click.group(
    name="qkd-hal",
    cls=LazyGroup,
    table=COMMANDS,
    group="qkd_hal.commands",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, package_name="qkd-hal")
@click.option("-v", "--verbose", count=True, help="Log to standard error; twice for more.")
def root(verbose: int) -> None:
    """Any quantum key distribution device behind one API, and TLS 1.3 on its keys."""
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)]
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s")
