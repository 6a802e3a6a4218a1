"""What commands that talk to one device share."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qkd_hal.device import QKDDevice

__all__ = ["device_argument", "opened", "record_option", "timeout_option"]

device_argument = click.argument("device_url", metavar="URL")
timeout_option = click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=10.0,
    show_default=True,
    help="Seconds to wait for the device.",
)
record_option = click.option(
    "--record",
    metavar="FILE",
    help="New file for what the device was asked and said, keys left out.",
)


@contextmanager
def opened(device_url: str, timeout: float, record: str | None = None) -> Iterator[QKDDevice]:
    """Open the device at *device_url*, or of that name in ``qkd-hal.toml``, and close it."""
    from qkd_hal.registry import open_device  # drivers load on use

    with open_device(device_url, timeout=timeout, record=record) as device:
        yield device
