"""``qkd-hal info``: what a device is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from qkd_hal.cli._device import device_argument, opened, record_option, timeout_option
from qkd_hal.cli._output import json_option, print_json, print_pairs

if TYPE_CHECKING:
    from qkd_hal.sources import DeviceInfo

__all__ = ["info"]


@click.command()
@device_argument
@timeout_option
@record_option
@json_option
def info(device_url: str, timeout: float, record: str | None, as_json: bool) -> None:
    """Say what the device at URL is; URL may be a name in qkd-hal.toml."""
    with opened(device_url, timeout, record) as device:
        facts = _to_json(device.info)
    if as_json:
        print_json(facts)
    else:
        print_pairs({name: _to_text(value) for name, value in facts.items()}, title=device_url)


def _to_json(info: DeviceInfo) -> dict[str, object]:
    return {
        "vendor": info.vendor,
        "model": info.model,
        "serial_number": info.serial_number,
        "firmware": info.firmware,
        "capabilities": sorted(capability.value for capability in info.capabilities),
        "provenance": str(info.provenance),
        "simulated": info.provenance.simulated,
        "site": info.site,
        "peers": list(info.peers),
        "max_key_size": info.max_key_size,
    }


def _to_text(value: object) -> object:
    return ", ".join(value) if isinstance(value, list) else value
