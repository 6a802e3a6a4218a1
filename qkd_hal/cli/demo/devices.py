"""The quantum half of the demo with devices instead of simulated modems: named, or by URL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qkd_hal.cli._process import uninterrupted
from qkd_hal.emulators import start_emulator
from qkd_hal.errors import UnsupportedError, UsageError
from qkd_hal.registry import open_device
from qkd_hal.sources import Capability

if TYPE_CHECKING:
    from contextlib import ExitStack

    from qkd_hal.cli.demo.settings import DemoSettings
    from qkd_hal.emulators import EmulatedPair
    from qkd_hal.sources import DeviceInfo

__all__ = ["GivenPair", "device_facts", "site_names", "start_devices"]


@dataclass(frozen=True, slots=True)
class GivenPair:
    """Two devices that were there before the demo, and stay: an ``EmulatedPair``."""

    alice_url: str
    bob_url: str

    def close(self) -> None:
        """They are not the demo's to switch off."""


def start_devices(stack: ExitStack, settings: DemoSettings) -> EmulatedPair:
    """Take the two devices at the given URLs, or start the emulator of that name.

    Raises:
        UsageError: a URL without that of the device at the other end, or the reverse.
    """
    device, other = settings.device or "", settings.peer_device
    if ":" in device and other:
        return GivenPair(device, other)
    if ":" in device or other:
        cure = "Give both --device URL and --peer-device URL, or --device with an emulator's name"
        raise UsageError("a demo with devices needs two of them", cure=cure)
    with uninterrupted():
        pair = start_emulator(device)
        stack.callback(pair.close)
    return pair


def device_facts(pair: EmulatedPair, settings: DemoSettings) -> dict[str, Any]:
    """Look at both devices; what a device does not tell of its photons is ``None``.

    Raises:
        UnsupportedError: no pool can be filled from it.
    """
    infos = []
    for url in (pair.alice_url, pair.bob_url):
        with open_device(url) as device:
            _check(device.info, url, settings)
            infos.append(device.info)
            status = device.status()
    return {
        "devices": [_identity(info) for info in infos],
        "pulses": None,
        "sifted_bits": None,
        "qber": status.qber,
        "leak_bits": None,
        "reconciliation_efficiency": None,
        "secret_bits": None,
        "secret_key_rate_bps": status.secret_key_rate_bps,
    }


def site_names(facts: dict[str, Any]) -> tuple[str, str]:
    """Return the names by which the devices know their sites."""
    one, other = (device["site"] for device in facts["devices"])
    return one, other


def _check(info: DeviceInfo, url: str, settings: DemoSettings) -> None:
    wanted = {Capability.RESERVE_AHEAD, Capability.EXTRACT, Capability.LOOK_UP}
    lacking = sorted(each.value for each in wanted - info.capabilities)
    if lacking or not info.site:
        missing = ", ".join(lacking) or "a site name"
        raise UnsupportedError(f"no pool can be filled from this device: {missing}", device=url)
    if info.max_key_size < settings.block_size:
        what = f"the device gives at most {info.max_key_size} bytes at once"
        raise UnsupportedError(f"{what}, the demo takes {settings.block_size}", device=url)


def _identity(info: DeviceInfo) -> dict[str, str]:
    return {
        "vendor": info.vendor,
        "model": info.model,
        "serial_number": info.serial_number,
        "site": info.site,
        "provenance": str(info.provenance),
    }
