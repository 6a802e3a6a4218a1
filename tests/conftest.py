"""What tests of several rooms share."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from qkd_hal_firmware_mocks.token.pcscd import PcscDaemon
    from qkd_hal_firmware_mocks.usb.worlds import UsbWorld

pytest_plugins = ["pytester"]

# A busy machine is slow, and that is no fault of what is tested.
hypothesis.settings.register_profile("qkd-hal", deadline=None)
hypothesis.settings.load_profile("qkd-hal")

SYSTEM_PARTS = {
    "cc": "apt install gcc libc6-dev",
    "ser2net": "apt install ser2net",
    "openssl": "apt install openssl",
    "vpcd-config": "apt install pcscd vsmartcard-vpcd",
    "qemu-system-x86_64": "apt install qemu-system-x86 busybox-static kmod",
    "lsusb": "apt install usbutils",
    "softhsm2-util": "apt install softhsm2",
}

PCSC_SOCKET = "pcscd.sock"


@pytest.fixture
def bare_environment() -> dict[str, str]:
    """The environment for a child that must not load what coverage needs to measure it."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}


@pytest.fixture
def usb_world() -> Iterator[UsbWorld]:
    """Where to plug USB firmware in: a bus in this process, or in the guest the kernel."""
    from qkd_hal_firmware_mocks.usb import worlds

    world = worlds.usb_world()
    yield world
    world.close()


@pytest.fixture(scope="session")
def pcsc_daemon() -> Iterator[PcscDaemon]:
    """A PC/SC daemon of the tests' own, with a virtual reader of two slots. Its tests are
    marked ``needs("vpcd-config")``."""
    from qkd_hal_firmware_mocks.token.pcscd import PcscDaemon

    directory = Path(os.environ["PCSCLITE_CSOCK_NAME"]).parent
    directory.mkdir(mode=0o700)
    with PcscDaemon(directory) as daemon:
        yield daemon
    shutil.rmtree(directory)


def pytest_configure() -> None:
    """Let children hear Ctrl-C, even where the tests run in the background of a shell; keep
    the tests from the machine's own PC/SC daemon."""
    # libpcsclite reads it once, at a process's first call, and tests share a process.
    pcsc = Path(tempfile.gettempdir(), f"qkd-hal-pcsc-{os.getpid()}")
    os.environ["PCSCLITE_CSOCK_NAME"] = str(pcsc / PCSC_SOCKET)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose ``needs(PROGRAM)`` is not on this machine, and say how to get it."""
    for mark in item.iter_markers("needs"):
        (program,) = mark.args
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed: {SYSTEM_PARTS[program]}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """On CI, where `.ci/run` installs all parts, a skip hides a fault: fail instead."""
    report = yield
    if report.skipped and os.environ.get("QKD_HAL_NO_SKIPS") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
    return report
