"""``qkd-hal-mock quantis``: the random generator, exported over USB/IP."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import click

from qkd_hal_firmware_mocks.lifetime import announce, ending, life_options
from qkd_hal_firmware_mocks.quantis.firmware import Quantis
from qkd_hal_firmware_mocks.usb.usbip import UsbIpServer

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["quantis"]


@click.command()
@click.option("--usbip", "port", default=3240, show_default=True, help="TCP port; 0: any free one.")
@click.option("--seed", type=int, help="The bytes repeat with it: for tests, never for keys.")
@life_options
def quantis(port: int, seed: int | None, ready_file: Path | None, die_with_parent: bool) -> None:
    """Run an ID Quantique Quantis USB random generator as a USB/IP server."""
    firmware = Quantis() if seed is None else Quantis(random.Random(seed).randbytes)  # noqa: S311
    with ending(with_parent=die_with_parent) as stop, UsbIpServer(firmware, port=port) as server:
        fields = {"device": "quantis", "usbip_port": server.port, "bus_id": "1-1"}
        announce({**fields, "url": "quantis://1209:0007/MOCK0001"}, ready_file)
        stop.wait()
