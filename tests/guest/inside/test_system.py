"""What the rest of the system sees of a plugged firmware: lsusb, access rights, udev."""

from __future__ import annotations

import grp
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from qkd_hal_firmware_mocks.usb.loop_back import LoopBack

if TYPE_CHECKING:
    from collections.abc import Callable

    from qkd_hal_firmware_mocks.usb.worlds import KernelWorld

RULE = (
    'SUBSYSTEM=="usb", ENV{DEVTYPE}=="usb_device", ATTR{idVendor}=="1209", '
    'MODE="0660", GROUP="plugdev", SYMLINK+="qkd-test/$attr{serial}"\n'
)
READ_AS_NOBODY = """
import os, sys, libusb_package, usb.core
device = libusb_package.find(idVendor=0x1209)  # first: nobody may not read the libraries
os.setgroups([int(each) for each in sys.argv[1:]])
os.setgid(65534)
os.setuid(65534)
try:
    print(device.ctrl_transfer(0xC0, 2, 0, 0, 8).tobytes())
except usb.core.USBError as error:
    print("errno", error.errno)
"""


def as_nobody(*groups: int) -> str:
    command = [sys.executable, "-c", READ_AS_NOBODY, *map(str, groups)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.strip()


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
    assert as_nobody() == "errno 13"


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
    assert as_nobody(plugdev) == "b''"
    assert as_nobody() == "errno 13"
