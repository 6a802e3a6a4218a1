"""The same TLS session, keyed in turn by every kind of device."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from qkd_hal.device_url import DeviceURL
from qkd_hal.emulators import start_emulator
from qkd_hal_drivers import _usb
from qkd_hal_firmware_mocks.boxlink import BoxPair
from qkd_hal_firmware_mocks.boxlink.pair import make_settings
from qkd_hal_firmware_mocks.boxlink.usb import BoxUsb
from tests.drivers.serial_box.servers import PortManagerServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qkd_hal_firmware_mocks.usb.worlds import UsbWorld

EXAMPLE = Path(__file__).parents[2] / "examples" / "tls_over_devices.py"
PSK = bytes(range(32))


@pytest.fixture
def session() -> Callable[[str, str], None]:
    """Run the example in this process, and check what it saw."""
    example = runpy.run_path(str(EXAMPLE))

    def run(alice_url: str, bob_url: str) -> None:
        answer, protection = example["run"](alice_url, bob_url)
        assert answer == "KEYED BY QUANTUM LIGHT"
        assert (protection.mode, protection.psk_used) == ("quantum+hybrid", True)

    return run


@pytest.fixture
def serial_boxes() -> Iterator[Any]:
    pair = start_emulator("box")
    yield pair
    pair.close()


def test_keyed_by_serial_boxes(serial_boxes: Any) -> None:
    """As a user runs it."""
    command = [sys.executable, str(EXAMPLE), serial_boxes.alice_url, serial_boxes.bob_url]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("KEYED BY QUANTUM LIGHT\n")


def test_keyed_by_usb_boxes(
    usb_world: UsbWorld,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    session: Callable[[str, str], None],
) -> None:
    monkeypatch.setattr(_usb, "provide_backend", lambda: usb_world.backend)
    credential = tmp_path / "psk"
    credential.touch(0o600)
    credential.write_text(PSK.hex())
    with BoxPair(make_settings((PSK, PSK))) as pair:
        for box in (pair.alice, pair.bob):
            usb_world.plug(BoxUsb(box))
        urls = [f"usb://1209:0001/MOCK-{end}?credential={credential}" for end in ("ALICE", "BOB")]
        session(*urls)


def test_keyed_by_a_box_behind_a_serial_server(
    serial_boxes: Any, session: Callable[[str, str], None]
) -> None:
    alice = DeviceURL.parse(serial_boxes.alice_url)
    server = PortManagerServer(alice.path)
    try:
        credential = alice.query["credential"]
        url = f"serial+rfc2217://127.0.0.1:{server.port}?credential={credential}"
        session(url, serial_boxes.bob_url)
    finally:
        server.close()
