"""What tests in the guest share: the system's own daemons, started for them."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

UDEVD = "/lib/systemd/systemd-udevd"


@pytest.fixture(scope="session")
def wait_for() -> Callable[[Callable[[], object]], None]:
    """Wait until a condition holds, for no longer than an emulated machine may need."""

    def wait(condition: Callable[[], object], seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "it did not come about"
            time.sleep(0.02)

    return wait


@pytest.fixture(scope="session")
def udevd(wait_for: Callable[[Callable[[], object]], None]) -> Iterator[Callable[[], None]]:
    """The machine's udev daemon. Call what this gives after new rules, and to let the daemon
    finish."""
    if not os.access(UDEVD, os.X_OK):
        pytest.skip("udev is not installed: apt install udev")
    Path("/run/udev").mkdir(exist_ok=True)
    daemon = subprocess.Popen([UDEVD, "--children-max=2"], stderr=subprocess.DEVNULL)
    wait_for(Path("/run/udev/control").exists)

    def settle() -> None:
        for arguments in (["control", "--reload"], ["settle", "--timeout=30"]):
            subprocess.run(["udevadm", *arguments], check=True)

    settle()
    yield settle
    daemon.terminate()
    daemon.wait()


@pytest.fixture(scope="session")
def ccid_daemon(
    udevd: Callable[[], None], wait_for: Callable[[Callable[[], object]], None]
) -> Iterator[None]:
    """pcscd with Debian's CCID driver, which is told of our tests' VID and PID."""
    program = shutil.which("pcscd", path=os.environ["PATH"] + ":/usr/sbin")
    if program is None or not Path("/etc/libccid_Info.plist").exists():
        pytest.skip("pcscd or its CCID driver is not installed: apt install pcscd libccid")
    _teach_libccid(0x1209, 0x0005)
    udevd()
    socket = Path(os.environ["PCSCLITE_CSOCK_NAME"])
    socket.parent.mkdir(mode=0o700, exist_ok=True)
    Path("/run/pcscd").mkdir(exist_ok=True)
    socket.symlink_to("/run/pcscd/pcscd.comm")
    with Path("/run/pcscd.log").open("wb") as log:
        daemon = subprocess.Popen([program, "--foreground", "--info"], stdout=log, stderr=log)
    wait_for(Path("/run/pcscd/pcscd.comm").exists)
    yield
    daemon.terminate()
    daemon.wait()


def _teach_libccid(vendor: int, product: int) -> None:
    """Add a reader to the driver's list: pcscd asks it only for those that it knows."""
    path = Path("/etc/libccid_Info.plist")
    lists = {
        "ifdVendorID": f"{vendor:#06x}",
        "ifdProductID": f"{product:#06x}",
        "ifdFriendlyName": "QKD key token",
    }
    text = path.read_text()
    for name, value in lists.items():
        start = text.index("<array>", text.index(f"<key>{name}</key>")) + len("<array>")
        text = f"{text[:start]}\n\t\t<string>{value}</string>{text[start:]}"
    path.write_text(text)
