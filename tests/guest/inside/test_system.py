"""What the rest of the system sees of a plugged firmware: lsusb, access rights, udev."""

from __future__ import annotations

import errno
import grp
import os
import stat
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import usb.core
import usb.util

from qkd_hal_firmware_mocks.usb.loop_back import LoopBack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qkd_hal_firmware_mocks.usb.worlds import KernelDevice, KernelWorld

NOBODY = 65534
RULE = (
    'SUBSYSTEM=="usb", ENV{DEVTYPE}=="usb_device", ATTR{idVendor}=="1209", '
    'MODE="0660", GROUP="plugdev", SYMLINK+="qkd-test/$attr{serial}"\n'
)


@contextmanager
def as_nobody(*groups: int) -> Iterator[None]:
    """Without root's rights, but with those of *groups*."""
    os.setgroups(groups)
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


def read_register(world: KernelWorld, plugged: KernelDevice) -> bytes:
    device = usb.core.find(backend=world.backend, bus=plugged.bus, address=plugged.address)
    try:
        register: bytes = device.ctrl_transfer(0xC0, 2, 0, 0, 8, 5000).tobytes()
    finally:
        usb.util.dispose_resources(device)
    return register


def assert_no_access(world: KernelWorld, plugged: KernelDevice) -> None:
    with pytest.raises(usb.core.USBError) as caught:
        read_register(world, plugged)
    assert caught.value.errno == errno.EACCES


@pytest.mark.needs("lsusb")
def test_lsusb_lists_the_device(usb_world: KernelWorld) -> None:
    usb_world.plug(LoopBack())
    done = subprocess.run(
        ["lsusb", "-v", "-d", "1209:0001"], capture_output=True, text=True, check=True
    )
    assert "iSerial                 3 LOOP-1" in done.stdout
    assert "wMaxPacketSize     0x0200  1x 512 bytes" in done.stdout


def test_a_user_without_the_right_gets_eacces(
    usb_world: KernelWorld, udevd: Callable[[], None]
) -> None:
    device = usb_world.plug(LoopBack())
    udevd()
    assert stat.S_IMODE(device.node.stat().st_mode) == 0o664  # udev's choice without a rule
    with as_nobody():
        assert_no_access(usb_world, device)


def test_a_udev_rule_gives_mode_group_and_link(
    usb_world: KernelWorld, udevd: Callable[[], None]
) -> None:
    Path("/run/udev/rules.d").mkdir(exist_ok=True)
    Path("/run/udev/rules.d/70-test.rules").write_text(RULE)
    udevd()
    device = usb_world.plug(LoopBack("UDEV-1"))
    udevd()
    plugdev = grp.getgrnam("plugdev").gr_gid
    status = device.node.stat()
    assert (stat.S_IMODE(status.st_mode), status.st_gid) == (0o660, plugdev)
    assert os.path.realpath("/dev/qkd-test/UDEV-1") == str(device.node)
    with as_nobody(plugdev):
        assert read_register(usb_world, device) == b""
    with as_nobody():
        assert_no_access(usb_world, device)
