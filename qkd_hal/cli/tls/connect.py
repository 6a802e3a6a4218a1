"""``qkd-hal tls connect``: a TLS 1.3 client on quantum keys, and what it measures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from qkd_hal.cli._output import json_option, print_json, print_pairs
from qkd_hal.cli._process import die_with_parent as follow_parent
from qkd_hal.cli.tls._options import (
    address,
    config_option,
    die_with_parent_option,
    pool_option,
    size,
)

__all__ = ["connect"]


@click.command()
@click.argument("server", type=address, metavar="HOST:PORT")
@click.option(
    "--bytes",
    "data_size",
    type=size,
    default="0",
    metavar="SIZE",
    help="Send so much random data to an echo, such as 8MiB, and check what comes back.",
)
@click.option("--yardstick", type=address, metavar="HOST:PORT", help="The server's yardstick.")
@click.option(
    "--certificate",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The yardstick's certificate, PEM.",
)
@click.option(
    "--handshakes",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="Rounds at the yardstick; as many as the server answers.",
)
@click.option(
    "--until-exhausted", is_flag=True, help="Go on connecting until the pool is out of keys."
)
@click.option(
    "--stock",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Keys of 256 bits that the pool must hold before the first handshake.",
)
@click.option(
    "--wait",
    type=click.FloatRange(min=0),
    default=10.0,
    show_default=True,
    help="Seconds to wait for keys in the pool.",
)
@config_option
@pool_option
@die_with_parent_option
@json_option
def connect(
    server: tuple[str, int],
    data_size: int,
    yardstick: tuple[str, int] | None,
    certificate: Path | None,
    handshakes: int,
    until_exhausted: bool,
    stock: int,
    wait: float,
    config: Path | None,
    pool_name: str | None,
    die_with_parent: bool,
    as_json: bool,
) -> None:
    """Connect to HOST:PORT with a fresh quantum key, and say what protects the connection."""
    if (yardstick is None) != (certificate is None):
        raise click.UsageError("--yardstick and --certificate go together.")
    from qkd_hal.cli.tls.client import Client
    from qkd_hal.cli.wiring import open_site

    if die_with_parent:
        follow_parent()
    with open_site(config, pool_name) as site:
        client = Client(server, site.pool(pool_name), site.tls_context(pool_name))
        site.pool(pool_name).wait_for_keys(stock, wait)
        client.exchange(data_size)
        if yardstick and certificate:
            client.measure(yardstick, certificate.read_bytes(), handshakes)
        if until_exhausted:
            client.drain()
    if as_json:
        print_json(client.report)
    else:
        print_pairs(_to_text(client.report), title=f"TLS to {client.report['peer']}")


def _to_text(report: dict[str, Any]) -> dict[str, object]:
    flat: dict[str, object] = {}
    for name, value in report.items():
        if isinstance(value, dict):
            flat |= value
        else:
            flat[name] = ", ".join(value) if isinstance(value, list) else value
    return flat
