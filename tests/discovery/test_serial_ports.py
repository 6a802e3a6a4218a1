"""Serial ports are told apart by the USB descriptors behind them."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

import pytest

from qkd_hal_drivers.buses import serial_ports, sysfs

if TYPE_CHECKING:
    from pathlib import Path

    from qkd_hal.discovery import DiscoveredDevice
    from tests.discovery.conftest import Machine

ACM = (0x02, 0x02, 0x01)
VENDOR = (0xFF, 0xFF, 0xFF)


def found(machine: Machine) -> list[DiscoveredDevice]:
    return serial_ports.recognised(sysfs.serial_ports(machine.root), machine.root)


def test_a_box_is_known_by_the_name_of_its_interface(machine: Machine) -> None:
    node = machine.acm("ttyACM0", machine.usb((0x1234, 0x5678), (ACM, "boxlink 1")))
    (box,) = found(machine)
    assert box.url == f"serial://{node}"
    assert (box.vendor, box.model, box.serial_number) == ("Acme", "Link One", "A-7")
    assert (box.usable, box.known) == (True, True)


def test_a_time_tagger_is_known_by_its_texts(machine: Machine) -> None:
    device = machine.usb(
        (0x1234, 0x5678),
        (ACM, ""),
        manufacturer="S-Fifteen Instruments",
        product="USB Counter",
        serial="TDC1-0019",
    )
    node = machine.acm("ttyACM0", device)
    (tagger,) = found(machine)
    assert (tagger.url, tagger.known) == (f"tdc1://{node}", True)


def test_the_right_interface_of_several_counts(machine: Machine) -> None:
    device = machine.usb((0x1234, 0x5678), (ACM, "console"), (ACM, "boxlink"))
    machine.acm("ttyACM0", device, 0)
    machine.ftdi("ttyUSB0", device, 1)
    assert [(port.url[-7:], port.known) for port in found(machine)] == [
        ("ttyACM0", False),
        ("ttyUSB0", True),
    ]


def test_what_could_be_anything_is_unknown(machine: Machine) -> None:
    adapter = machine.usb((0x0403, 0x6001), (VENDOR, ""), manufacturer="FTDI", product="FT232R")
    machine.ftdi("ttyUSB0", adapter)
    machine.tty("ttyS0", machine.root / "sys/devices/pnp0/00:04", type="4")
    port, adapter_port = found(machine)
    assert (port.model, port.vendor, port.known) == ("serial port", "", False)
    assert (adapter_port.model, adapter_port.vendor, adapter_port.known) == (
        "FT232R",
        "FTDI",
        False,
    )


def test_lines_without_hardware_are_left_out(machine: Machine) -> None:
    machine.tty("ttyS1", machine.root / "sys/devices/platform/serial8250", type="0")
    console = machine.root / "sys/devices/virtual/tty/tty1"
    console.mkdir(parents=True)
    (machine.root / "sys/class/tty/tty1").symlink_to(console)
    assert found(machine) == []


def test_the_stable_name_of_our_udev_rule_is_preferred(machine: Machine) -> None:
    node = machine.acm("ttyACM0", machine.usb((0x1234, 0x5678), (ACM, "boxlink")))
    (before,) = found(machine)
    links = machine.root / "dev/qkd"
    links.mkdir()
    (links / "serial-other").symlink_to("../ttyACM9")
    (links / "serial-A-7").symlink_to(f"../{node.name}")
    (after,) = found(machine)
    assert after.url == f"serial://{links}/serial-A-7"
    assert after.change_token == before.change_token


def test_a_port_that_is_plugged_in_again_has_another_change_token(machine: Machine) -> None:
    device = machine.usb((0x1234, 0x5678), (ACM, "boxlink"))
    machine.acm("ttyACM0", device)
    (before,) = found(machine)
    device.rename(machine.root / "gone")
    for link in ("sys/class/tty/ttyACM0", "sys/bus/usb/devices/1-1"):
        (machine.root / link).unlink()
    assert found(machine) == []
    machine.acm("ttyACM0", machine.usb((0x1234, 0x5678), (ACM, "boxlink")))
    (after,) = found(machine)
    assert (after.url, after.change_token == before.change_token) == (before.url, False)


def test_a_port_that_another_process_has_locked_names_it(machine: Machine) -> None:
    node = machine.acm("ttyACM0", machine.usb((0x1234, 0x5678), (ACM, "boxlink")))
    with node.open("rb") as port:
        fcntl.flock(port, fcntl.LOCK_EX)
        (machine.root / "proc/locks").write_bytes(real_locks(node))
        (box,) = found(machine)
    assert not box.usable
    assert str(os.getpid()) in box.reason
    (machine.root / "proc/locks").write_text("1: POSIX  ADVISORY  WRITE 17 08:01:999 0 EOF\nx\n")
    assert found(machine)[0].usable


def real_locks(node: Path) -> bytes:
    """What this kernel says of the lock, or, where it hides locks, what Linux writes."""
    with open("/proc/locks", "rb") as file:  # noqa: PTH123 - beside the other opens of this test
        shown = file.read()
    status = node.stat()
    name = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    if name.encode() in shown:
        return shown
    return f"1: FLOCK  ADVISORY  WRITE {os.getpid()} {name} 0 EOF\n".encode()


def test_without_its_libraries_a_box_names_the_extra(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.acm("ttyACM0", machine.usb((0x1234, 0x5678), (ACM, "boxlink")))
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "cobs" else object()
    )
    (box,) = found(machine)
    assert (box.usable, "the module cobs" in box.reason) == (False, True)
    assert "pip install 'qkd-hal[serial]'" in box.cure


def test_without_right_the_cure_is_the_udev_rule(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.acm("ttyACM0", machine.usb((0x1234, 0x5678), (ACM, "boxlink")))
    monkeypatch.setattr(os, "access", lambda *_: False)
    (box,) = found(machine)
    assert (box.usable, "qkd-hal udev install" in box.cure) == (False, True)


def test_an_emulated_port_is_simulated(machine: Machine) -> None:
    machine.acm("ttyACM0", machine.usb((0x1209, 0x0002), (ACM, "boxlink")))
    assert found(machine)[0].provenance.simulated
