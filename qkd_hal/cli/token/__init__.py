"""``qkd-hal token``: fill key tokens and look after them."""

from __future__ import annotations

import click

from qkd_hal.cli.token.care import change_pin, erase, init, list_keys, status, unblock, verify
from qkd_hal.cli.token.fill import fill

__all__ = ["token"]


@click.group()
def token() -> None:
    """Fill key tokens, and look after them.

    TOKEN is a URL such as token://VID:PID/SERIAL or token+pcsc:///READER; see: qkd-hal devices.
    A PIN comes from ?pin-source=FILE in the URL, from QKD_HAL_PIN, or is asked for.
    """


for _command in (fill, status, list_keys, init, verify, change_pin, unblock, erase):
    token.add_command(_command)
