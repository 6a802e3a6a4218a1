"""Discovery, hot-plug events and our udev rules, on a real kernel and a real udev daemon."""

from __future__ import annotations

import grp
import os
import stat
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import serial.tools.list_ports
from click.testing import CliRunner

from qkd_hal.cli.udev import udev
from qkd_hal.cli.udev.rules import install_rules, remove_rules
from qkd_hal.discovery import DiscoveredDevice, discover
from qkd_hal.hotplug import Changed, Plugged, Unplugged, watch_devices
from qkd_hal_firmware_mocks.boxlink.pair import BoxPair, make_settings
from qkd_hal_firmware_mocks.boxlink.usb import BoxUsb
from qkd_hal_firmware_mocks.token.applet import KeyApplet
from qkd_hal_firmware_mocks.token.ccid import CcidToken
from qkd_hal_firmware_mocks.token.medium import MemoryMedium
from qkd_hal_firmware_mocks.usb.cdc_acm import CdcAcm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qkd_hal.hotplug import HotplugEvent
    from qkd_hal_firmware_mocks.usb.worlds import KernelWorld

    Wait = Callable[[Callable[[], object]], None]

ROOT = Path("/")
SERIAL_URL = "serial:///dev/qkd/serial-ACM-7"
LONG = 60.0  # seconds: an event that comes sooner came from the kernel


class Silent:
    """A firmware that says nothing."""

    def attach(self, send: Callable[[bytes], None]) -> None:
        """Nothing will be sent."""

    def feed(self, data: bytes) -> None:
        """Swallow it."""

    def hang_up(self) -> None:
        """Nobody was there."""


@pytest.fixture
def usb_box() -> Iterator[BoxUsb]:
    with BoxPair(make_settings((b"a" * 32, b"b" * 32))) as pair:
        yield BoxUsb(pair.alice)


@pytest.fixture
def serial_box() -> CdcAcm:
    return CdcAcm(Silent(), names=("Acme", "Link One", "ACM-7"), interface="boxlink 1")


@pytest.fixture(scope="module")
def rules(udevd: Callable[[], None]) -> Iterator[Callable[[], None]]:
    """Our rules, from the first test that takes them to the end; call it to let udevd finish."""
    install_rules(ROOT)
    udevd()
    yield udevd
    remove_rules(ROOT)
    udevd()


def entry(url: str) -> DiscoveredDevice:
    found = {device.url: device for device in discover(simulators=True)}
    return found[url]


def rights(node: Path) -> tuple[int, str]:
    status = node.stat()
    return stat.S_IMODE(status.st_mode), grp.getgrgid(status.st_gid).gr_name


def test_a_box_is_found_by_its_interface_and_hidden_as_it_is_emulated(
    usb_world: KernelWorld, usb_box: BoxUsb
) -> None:
    usb_world.plug(usb_box)
    found = entry("usb://1209:0001/MOCK-ALICE")
    assert (found.vendor, found.model, found.usable) == ("qkd-hal", "mock box", True)
    assert found.url not in {device.url for device in discover()}


def test_a_box_that_a_program_has_claimed_is_busy(usb_world: KernelWorld, usb_box: BoxUsb) -> None:
    import usb.core
    import usb.util

    usb_world.plug(usb_box)
    device = usb.core.find(idVendor=0x1209, backend=usb_world.backend)
    usb.util.claim_interface(device, 0)
    assert "another program" in entry("usb://1209:0001/MOCK-ALICE").reason
    usb.util.dispose_resources(device)
    assert entry("usb://1209:0001/MOCK-ALICE").usable


def test_a_token_is_found_by_its_product(usb_world: KernelWorld) -> None:
    usb_world.plug(CcidToken(KeyApplet(MemoryMedium())))
    (token,) = [one for one in discover(simulators=True) if one.url.startswith("token://")]
    assert token.known
    assert token.serial_number


def test_the_list_of_ports_is_the_one_of_pyserial(
    usb_world: KernelWorld, serial_box: CdcAcm, wait_for: Wait
) -> None:
    usb_world.plug(serial_box)
    wait_for(Path("/dev/ttyACM0").exists)
    ours = [one for one in discover(simulators=True, unknown=True) if "tty" in one.change_token]
    theirs = {port.device: port for port in serial.tools.list_ports.comports()}
    assert {one.url.removeprefix("serial://") for one in ours} == set(theirs)
    box = entry("serial:///dev/ttyACM0")
    port = theirs["/dev/ttyACM0"]
    names = (port.manufacturer, port.product, port.serial_number)
    assert (box.vendor, box.model, box.serial_number) == names


def test_a_port_that_another_process_has_locked_names_it(
    usb_world: KernelWorld, serial_box: CdcAcm, wait_for: Wait
) -> None:
    usb_world.plug(serial_box)
    wait_for(Path("/dev/ttyACM0").exists)
    with serial.Serial("/dev/ttyACM0", exclusive=True):
        assert str(os.getpid()) in entry("serial:///dev/ttyACM0").reason
    assert entry("serial:///dev/ttyACM0").usable


def test_installing_counts_for_what_is_plugged_in(
    usb_world: KernelWorld, usb_box: BoxUsb, udevd: Callable[[], None]
) -> None:
    device = usb_world.plug(usb_box)
    udevd()
    assert rights(device.node) == (0o664, "root")
    done = CliRunner().invoke(udev, ["install", "--yes"], catch_exceptions=False)
    assert "udevd uses them now" in done.stdout
    udevd()
    assert rights(device.node) == (0o660, "plugdev")
    remove_rules(ROOT)
    udevd()


def test_the_rules_give_a_usb_box_mode_group_and_link(
    usb_world: KernelWorld, usb_box: BoxUsb, rules: Callable[[], None]
) -> None:
    device = usb_world.plug(usb_box)
    rules()
    assert rights(device.node) == (0o660, "plugdev")
    assert os.path.realpath("/dev/qkd/usb-MOCK-ALICE") == str(device.node)


def test_the_rules_give_a_token_mode_and_group(
    usb_world: KernelWorld, rules: Callable[[], None]
) -> None:
    device = usb_world.plug(CcidToken(KeyApplet(MemoryMedium())))
    rules()
    assert rights(device.node) == (0o660, "plugdev")


def test_the_rules_give_a_serial_box_a_name_that_stays(
    usb_world: KernelWorld, serial_box: CdcAcm, rules: Callable[[], None], wait_for: Wait
) -> None:
    usb_world.plug(serial_box)
    wait_for(Path("/dev/ttyACM0").exists)
    rules()
    assert rights(Path("/dev/ttyACM0")) == (0o660, "plugdev")
    told = subprocess.run(
        ["udevadm", "info", "/dev/ttyACM0"], check=True, capture_output=True, text=True
    ).stdout
    assert "ID_MM_PORT_IGNORE=1" in told
    assert ":uaccess:" in told
    assert entry(SERIAL_URL).usable


def test_the_rules_give_the_time_tagger_a_name_that_stays(
    usb_world: KernelWorld, rules: Callable[[], None], wait_for: Wait
) -> None:
    names = ("S-Fifteen Instruments", "USB Counter", "TDC1-0019")
    usb_world.plug(CdcAcm(Silent(), names=names))
    wait_for(Path("/dev/ttyACM0").exists)
    rules()
    assert entry("tdc1:///dev/qkd/tdc1-TDC1-0019").usable


def test_the_rules_leave_other_devices_alone(
    usb_world: KernelWorld, rules: Callable[[], None], wait_for: Wait
) -> None:
    device = usb_world.plug(CdcAcm(Silent(), interface="console"))
    wait_for(Path("/dev/ttyACM0").exists)
    rules()
    assert rights(device.node) == (0o664, "root")
    assert rights(Path("/dev/ttyACM0")) == (0o660, "dialout")
    # udev may forget the link of a device that was pulled early; such a one leads nowhere.
    assert not [link for link in Path("/dev/qkd").glob("*") if link.exists()]


def test_plugging_and_unplugging_are_events_on_the_kernels_word(
    usb_world: KernelWorld, usb_box: BoxUsb, rules: Callable[[], None]
) -> None:
    seen: list[HotplugEvent] = []
    here, gone = threading.Event(), threading.Event()
    with watch_devices(simulators=True, interval=LONG) as events:

        def watch() -> None:
            for event in events:
                if event.device.url.startswith("usb:"):
                    seen.append(event)
                    (gone if isinstance(event, Unplugged) else here).set()

        watcher = threading.Thread(target=watch)
        watcher.start()
        device = usb_world.plug(usb_box)
        assert here.wait(LONG / 2)
        rules()
        usb_world.unplug(device)
        assert gone.wait(LONG / 2)
    watcher.join(LONG / 2)
    assert not watcher.is_alive()
    kinds = [type(event) for event in seen]
    assert (kinds[0], kinds[-1]) == (Plugged, Unplugged)
    assert set(kinds[1:-1]) <= {Changed}  # udevd may have been slower than we
