"""What discover() lists only when asked: emulators, and what may be no key device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from qkd_hal.cli.devices import devices
from qkd_hal.discovery import discover
from qkd_hal_drivers.buses import sysfs

if TYPE_CHECKING:
    from tests.discovery.conftest import Machine

BOX = ((0xFF, 0x51, 0x4B), "boxlink 1")
CCID = ((0x0B, 0x00, 0x00), "")


@pytest.fixture
def plugged(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A box, an emulated box and a card reader on this very machine."""
    machine.usb((0x1234, 0x0001), BOX, port="1-1")
    machine.usb((0x1209, 0x0001), BOX, port="1-2")
    machine.usb((0x1234, 0x0003), CCID, port="1-3")
    listed = sysfs.usb_devices(machine.root)
    monkeypatch.setattr(sysfs, "usb_devices", lambda _: listed)


def seen(**wishes: bool) -> set[str]:
    return {device.url for device in discover(**wishes) if device.serial_number == "A-7"}


@pytest.mark.parametrize(
    ("wishes", "more"),
    [
        ({}, set()),
        ({"simulators": True}, {"usb://1209:0001/A-7"}),
        ({"unknown": True}, {"token://1234:0003/A-7"}),
    ],
)
def test_only_what_is_asked_for_is_listed(
    wishes: dict[str, Any], more: set[str], plugged: None
) -> None:
    assert seen(**wishes) == {"usb://1234:0001/A-7"} | more


def test_the_command_takes_the_same_wishes(plugged: None) -> None:
    shown = CliRunner().invoke(devices, ["--json"]).stdout
    more = CliRunner().invoke(devices, ["--json", "--all", "--simulators"]).stdout
    assert ("1234:0003" in shown, "1209:0001" in shown) == (False, False)
    assert ("1234:0003" in more, "1209:0001" in more) == (True, True)
