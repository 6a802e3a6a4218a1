"""``qkd-hal devices``: what is plugged in, without opening any of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from qkd_hal.cli._output import json_option, print_json, print_table

if TYPE_CHECKING:
    from qkd_hal.discovery import DiscoveredDevice

__all__ = ["devices"]

_COLUMNS = ("URL", "vendor", "model", "serial number", "provenance", "usable")


@click.command()
@click.option("--simulators", is_flag=True, help="Show simulated devices, too.")
@json_option
def devices(simulators: bool, as_json: bool) -> None:
    """List devices that are plugged in; nothing is opened.

    A device or bus that cannot be used is listed with the reason and its cure. Simulators
    stay hidden unless asked for, so that nobody takes keys from one by accident.
    """
    from qkd_hal.discovery import discover

    found = discover(simulators=simulators)
    if as_json:
        print_json({"devices": [_to_json(device) for device in found]})
    elif found:
        print_table(_COLUMNS, map(_to_row, found))
    else:
        click.echo("No device found." + ("" if simulators else " Simulators need --simulators."))


def _to_json(device: DiscoveredDevice) -> dict[str, object]:
    return {
        "url": device.url,
        "vendor": device.vendor,
        "model": device.model,
        "serial_number": device.serial_number,
        "provenance": str(device.provenance),
        "simulated": device.provenance.simulated,
        "usable": device.usable,
        "reason": device.reason,
        "cure": device.cure,
    }


def _to_row(device: DiscoveredDevice) -> tuple[str, ...]:
    usable = "yes" if device.usable else f"no: {device.reason}. {device.cure}"
    identity = (device.url, device.vendor, device.model, device.serial_number)
    return (*identity, str(device.provenance), usable)
