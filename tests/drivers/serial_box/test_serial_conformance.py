"""Serial boxes keep every promise that we ask of a vendor, on a port and behind a server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qkd_hal import open_device
from qkd_hal.testing.conformance import DeviceConformance, FullConformance
from tests.drivers.serial_box.servers import PortManagerServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qkd_hal.device_url import DeviceURL
    from qkd_hal.testing.conformance import Pair
    from qkd_hal_firmware_mocks.boxlink.emulator import SerialBoxPair

MOCKS = frozenset({"MOCK-ALICE", "MOCK-BOB"})


class TestOnPseudoTerminals(FullConformance):
    """The whole suite, with faults and unplugging."""

    serial_numbers = MOCKS

    @pytest.fixture
    def disturb(self, boxes: SerialBoxPair) -> SerialBoxPair:
        return boxes

    @pytest.fixture
    def pair(self, boxes: SerialBoxPair) -> Iterator[Pair]:
        with open_device(boxes.alice_url) as alice, open_device(boxes.bob_url) as bob:
            yield alice, bob


@pytest.fixture(scope="module")
def server(alice: DeviceURL) -> Iterator[PortManagerServer]:
    running = PortManagerServer(alice.path)
    yield running
    running.close()


@pytest.mark.slow  # opening by RFC 2217 takes most of a second, each time
class TestBehindASerialServer(DeviceConformance):
    """Alice's box behind RFC 2217."""

    serial_numbers = MOCKS

    @pytest.fixture
    def pair(self, server: PortManagerServer, alice: DeviceURL, bob: DeviceURL) -> Iterator[Pair]:
        credential = alice.query["credential"]
        url = f"serial+rfc2217://127.0.0.1:{server.port}?credential={credential}"
        with open_device(url) as first, open_device(str(bob)) as second:
            yield first, second
