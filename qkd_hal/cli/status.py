"""``qkd-hal status``: how a device fares, once or until Ctrl-C."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from qkd_hal.cli._device import device_argument, opened, record_option, timeout_option
from qkd_hal.cli._output import json_option, print_json, print_pairs

if TYPE_CHECKING:
    from qkd_hal.sources import DeviceStatus

__all__ = ["status"]


@click.command()
@device_argument
@click.option("--watch", is_flag=True, help="Print again every interval, until Ctrl-C.")
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1),
    default=1.0,
    show_default=True,
    help="Seconds between two prints with --watch.",
)
@timeout_option
@record_option
@json_option
def status(
    device_url: str, watch: bool, interval: float, timeout: float, record: str | None, as_json: bool
) -> None:
    """Say how the device at URL fares: QBER, secret key rate, stored keys, alarms.

    With --watch and --json, one object per line.
    """
    with opened(device_url, timeout, record) as device:
        _show(device.status(), device_url, as_json=as_json)
        while watch:
            time.sleep(interval)
            _show(device.status(), device_url, as_json=as_json)


def _show(status: DeviceStatus, title: str, *, as_json: bool) -> None:
    if as_json:
        print_json(_to_json(status))
    else:
        print_pairs(_to_text(status), title=title)


def _to_json(status: DeviceStatus) -> dict[str, object]:
    return {
        "qber": status.qber,
        "secret_key_rate_bps": status.secret_key_rate_bps,
        "stored_keys": status.stored_keys,
        "stored_bytes": status.stored_bytes,
        "link_up": status.link_up,
        "alarms": sorted(alarm.value for alarm in status.alarms),
        "details": dict(status.details),
    }


def _to_text(status: DeviceStatus) -> dict[str, object]:
    facts = _to_json(status)
    facts["alarms"] = ", ".join(sorted(alarm.value for alarm in status.alarms)) or "none"
    del facts["details"]
    return facts | dict(status.details)
