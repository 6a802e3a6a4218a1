"""Arguments that ``tls serve`` and ``tls connect`` share."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["address", "config_option", "die_with_parent_option", "pool_option", "size"]

_UNITS = {"GiB": 1 << 30, "MiB": 1 << 20, "KiB": 1 << 10, "": 1}
_MAX_PORT = 65_535


def address(text: str) -> tuple[str, int]:
    """Read ``HOST:PORT``; an IPv6 host stands in brackets."""
    host, _, port = text.rpartition(":")
    if not host or not _is_number(port) or int(port) > _MAX_PORT:
        raise click.BadParameter(f"{text!r} is not HOST:PORT.")
    return host.removeprefix("[").removesuffix("]"), int(port)


def size(text: str) -> int:
    """Read a number of bytes, with KiB, MiB or GiB behind it if that reads better."""
    unit = next(unit for unit in _UNITS if text.endswith(unit))
    number = text.removesuffix(unit).rstrip()
    if not _is_number(number):
        raise click.BadParameter(f"{text!r} is not a size such as 4096 or 8MiB.")
    return int(number) * _UNITS[unit]


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 18


config_option = click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="This site's qkd-hal.toml; default: the one that doctor finds.",
)
pool_option = click.option("--pool", "pool_name", help="The pool to use; default: the only one.")
die_with_parent_option = click.option(
    "--die-with-parent", is_flag=True, help="Stop when standard input closes."
)
