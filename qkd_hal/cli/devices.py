"""``qkd-hal devices``: what is plugged in, without opening any of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from qkd_hal.cli._output import json_option, print_json, print_table, printable

if TYPE_CHECKING:
    from qkd_hal.discovery import DiscoveredDevice
    from qkd_hal.hotplug import HotplugEvent

__all__ = ["devices"]

_COLUMNS = ("URL", "vendor", "model", "serial number", "provenance", "usable")


@click.command()
@click.option("--simulators", is_flag=True, help="Show simulated devices, too.")
@click.option("--all", "unknown", is_flag=True, help="Show what may be no key device, too.")
@click.option("--watch", is_flag=True, help="Go on, and print who comes and goes, until Ctrl-C.")
@json_option
def devices(simulators: bool, unknown: bool, watch: bool, as_json: bool) -> None:
    """List devices that are plugged in; nothing is opened.

    A device or bus that cannot be used is listed with the reason and its cure. Simulators
    stay hidden unless asked for, so that nobody takes keys from one by accident; serial
    ports and card readers of which nobody knows what they hold, unless --all is given.

    With --watch and --json, one object per line.
    """
    if watch:
        _watch(simulators, unknown, as_json=as_json)
        return
    from qkd_hal.discovery import discover

    found = discover(simulators=simulators, unknown=unknown)
    if as_json:
        print_json({"devices": [_to_json(device) for device in found]})
    elif found:
        print_table(_COLUMNS, map(_to_row, found))
    else:
        click.echo("No device found." + ("" if simulators else " Simulators need --simulators."))


def _watch(simulators: bool, unknown: bool, *, as_json: bool) -> None:
    from qkd_hal.hotplug import watch_devices

    with watch_devices(simulators=simulators, unknown=unknown) as events:
        for event in events:
            _show(event, as_json=as_json)


def _show(event: HotplugEvent, *, as_json: bool) -> None:
    name = type(event).__name__.lower()
    if as_json:
        print_json({"event": name} | _to_json(event.device))
    else:
        url, vendor, model, serial_number, _, usable = _to_row(event.device)
        facts = (name, url, vendor, model, serial_number, f"usable: {usable}")
        click.echo(printable("  ".join(fact for fact in facts if fact)))


def _to_json(device: DiscoveredDevice) -> dict[str, object]:
    return {
        "url": device.url,
        "vendor": device.vendor,
        "model": device.model,
        "serial_number": device.serial_number,
        "provenance": str(device.provenance),
        "simulated": device.provenance.simulated,
        "known": device.known,
        "usable": device.usable,
        "reason": device.reason,
        "cure": device.cure,
    }


def _to_row(device: DiscoveredDevice) -> tuple[str, ...]:
    usable = "yes" if device.usable else f"no: {device.reason}. {device.cure}"
    identity = (device.url, device.vendor, device.model, device.serial_number)
    return (*identity, str(device.provenance), usable)
