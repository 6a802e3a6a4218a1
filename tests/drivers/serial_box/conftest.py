"""Two boxes on pseudo-terminals, in a process of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qkd_hal.device_url import DeviceURL
from qkd_hal_firmware_mocks.boxlink.emulator import SerialBoxPair
from tests.drivers.serial_box.servers import PortManagerServer

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def boxes() -> Iterator[SerialBoxPair]:
    with SerialBoxPair() as pair:
        yield pair


@pytest.fixture(scope="module")
def alice(boxes: SerialBoxPair) -> DeviceURL:
    return DeviceURL.parse(boxes.alice_url)


@pytest.fixture(scope="module")
def bob(boxes: SerialBoxPair) -> DeviceURL:
    return DeviceURL.parse(boxes.bob_url)


@pytest.fixture
def port_manager(alice: DeviceURL) -> Iterator[PortManagerServer]:
    server = PortManagerServer(alice.path)
    yield server
    server.close()
