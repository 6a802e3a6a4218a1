"""Two USB boxes, plugged into whichever world the tests run in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qkd_hal import open_device
from qkd_hal_drivers import _usb
from qkd_hal_firmware_mocks.boxlink import BoxPair
from qkd_hal_firmware_mocks.boxlink.pair import make_settings
from qkd_hal_firmware_mocks.boxlink.server import BOX_FAULTS
from qkd_hal_firmware_mocks.boxlink.usb import USB_FAULTS, BoxUsb
from qkd_hal_firmware_mocks.faults import FaultPlan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from qkd_hal.device import QKDDevice
    from qkd_hal_firmware_mocks.usb.function import UsbFunction
    from qkd_hal_firmware_mocks.usb.virtual_bus import Plugged
    from qkd_hal_firmware_mocks.usb.worlds import UsbWorld

PSKS = (bytes(range(32)), bytes(range(1, 33)))


class Boxes:
    """Two boxes, plugged in, and where to open them: a ``Disturbable``."""

    faults = BOX_FAULTS | USB_FAULTS

    def __init__(self, world: UsbWorld, directory: Path) -> None:
        self._world = world
        self.pair = BoxPair(make_settings(PSKS))
        self.alice_url = box_url("MOCK-ALICE", directory / "alice.psk", PSKS[0])
        self.bob_url = box_url("MOCK-BOB", directory / "bob.psk", PSKS[1])
        self.usb = {
            site: BoxUsb(box, FaultPlan(seed=number))
            for number, (site, box) in enumerate(self.pair.boxes.items())
        }
        self.plan = self.usb["alice"].server.plan
        self._plugged: dict[str, Plugged] = {}
        for end in self.usb:
            self.plug(end)

    def unplug(self, end: str) -> None:
        """Pull the plug."""
        if end in self._plugged:
            self._world.unplug(self._plugged.pop(end))

    def plug(self, end: str) -> None:
        """Put it back."""
        if end not in self._plugged:
            self._plugged[end] = self._world.plug(self.usb[end])

    def plug_other(self, function: UsbFunction) -> None:
        """Plug something else in."""
        self._world.plug(function)

    def fault(self, end: str, name: str | None) -> None:
        """Begin the fault *name*, or end it."""
        self.usb[end].server.plan.begin(name)


def box_url(serial_number: str, credential: Path, psk: bytes) -> str:
    credential.touch(0o600)
    credential.write_text(psk.hex())
    return f"usb://1209:0001/{serial_number}?credential={credential}"


@pytest.fixture
def boxes(usb_world: UsbWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Boxes]:
    monkeypatch.setattr(_usb, "provide_backend", lambda: usb_world.backend)
    boxes = Boxes(usb_world, tmp_path)
    yield boxes
    boxes.pair.close()


@pytest.fixture
def alice(boxes: Boxes) -> Iterator[QKDDevice]:
    with open_device(boxes.alice_url) as device:
        yield device


@pytest.fixture
def bob(boxes: Boxes) -> Iterator[QKDDevice]:
    with open_device(boxes.bob_url) as device:
        yield device


@pytest.fixture
def url_with(tmp_path: Path) -> Callable[[bytes], str]:
    """Make the URL of the first box, with a credential file that holds *psk*."""

    def make(psk: bytes) -> str:
        return box_url("MOCK-ALICE", tmp_path / "given.psk", psk)

    return make
