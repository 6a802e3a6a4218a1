"""``qkd-hal tls``: TLS 1.3 between two sites, keyed by their pools."""

from __future__ import annotations

import click

from qkd_hal.cli.tls.connect import connect
from qkd_hal.cli.tls.serve import serve

__all__ = ["tls"]


@click.group()
def tls() -> None:
    """Serve or connect with TLS 1.3 keyed by QKD, as qkd-hal.toml says."""


tls.add_command(serve)
tls.add_command(connect)
