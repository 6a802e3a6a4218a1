"""The key token's driver through pcscd and Debian's CCID driver, on a real USB stack."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from qkd_hal import open_device
from qkd_hal.discovery import discover
from qkd_hal.errors import DeviceLostError
from qkd_hal_firmware_mocks.token.ccid import CcidToken
from qkd_hal_firmware_mocks.token.filled import filled_pair

if TYPE_CHECKING:
    from collections.abc import Callable

    from qkd_hal_firmware_mocks.usb.worlds import KernelWorld

    Wait = Callable[[Callable[[], object]], None]

PIN = b"123456"


def pcsc_urls() -> list[str]:
    found = discover(simulators=True, unknown=True)
    return [one.url for one in found if one.url.startswith("token+pcsc:") and one.usable]


def test_a_key_leaves_through_the_systems_own_drivers(
    usb_world: KernelWorld, ccid_daemon: None, wait_for: Wait, tmp_path: Path
) -> None:
    pytest.importorskip("smartcard", reason="pip install 'qkd-hal[pcsc]'")
    assert ccid_daemon is None
    pin_file = tmp_path / "pin"
    pin_file.touch(0o600)
    pin_file.write_bytes(PIN)
    token, _ = filled_pair(("PCSC-1", "PCSC-2"), PIN, b"87654321", keys=2)
    plugged: Any = usb_world.plug(CcidToken(token))
    wait_for(pcsc_urls)
    with open_device(f"{pcsc_urls()[0]}?pin-source={pin_file}") as device:
        assert (device.info.serial_number, device.status().stored_keys) == ("PCSC-1", 2)
        with device.start(size=32) as session:
            session.connect()
            assert len(session.get_key()) == 32
        assert device.status().stored_keys == 1
        usb_world.unplug(plugged)
        with pytest.raises(DeviceLostError):
            device.status()
