"""The search by libraries, for systems without ``/sys``: it recognises what it can see."""

from __future__ import annotations

import sys

import pytest
import serial.tools.list_ports
from serial.tools.list_ports_common import ListPortInfo

from qkd_hal_drivers import _usb
from qkd_hal_drivers.buses import obstacles, serial_ports, usb
from qkd_hal_firmware_mocks.boxlink.pair import BoxPair, make_settings
from qkd_hal_firmware_mocks.boxlink.usb import BoxUsb
from qkd_hal_firmware_mocks.usb.loop_back import LoopBack
from qkd_hal_firmware_mocks.usb.virtual_bus import VirtualBus


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")


def test_a_box_is_recognised_by_its_numbers_alone(
    elsewhere: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus = VirtualBus()
    with BoxPair(make_settings((b"a" * 32, b"b" * 32))) as pair:
        bus.plug(LoopBack())
        bus.plug(BoxUsb(pair.alice))
        monkeypatch.setattr(_usb, "provide_backend", lambda: bus.backend)
        (box,) = usb.discover()
    assert (box.url, box.vendor, box.usable) == ("usb://1209:0001", "USB vendor 1209", True)
    assert box.provenance.simulated


def test_ports_are_recognised_by_what_pyserial_tells(
    elsewhere: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def port(name: str, **facts: object) -> ListPortInfo:
        info = ListPortInfo(f"/dev/{name}")
        for fact, value in facts.items():
            setattr(info, fact, value)
        return info

    usb_facts = {"vid": 0x1234, "pid": 0x5678, "serial_number": "A-7", "hwid": "USB 1-1"}
    listed = [
        port("cu.box", **usb_facts, interface="boxlink 1", product="Link One"),
        port("cu.plain"),
        port("cu.strange", **usb_facts | {"serial_number": None}),
    ]
    monkeypatch.setattr(serial.tools.list_ports, "comports", lambda: listed)
    monkeypatch.setattr(serial_ports, "no_access", lambda _: obstacles.NONE)
    box, plain, strange = serial_ports.discover()
    assert (box.url, box.model, box.serial_number, box.known) == (
        "serial:///dev/cu.box",
        "Link One",
        "A-7",
        True,
    )
    assert (plain.model, plain.known, strange.known) == ("serial port", False, False)
    assert strange.serial_number == ""
