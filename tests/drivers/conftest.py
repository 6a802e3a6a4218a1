"""A scripted modem, and a driver open on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qkd_hal.registry import DeviceURL
from qkd_hal.sources import Deadline
from qkd_hal_drivers.optical_modem.driver import OpticalModemDriver
from qkd_hal_firmware_mocks.optical_modem import MockModem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def modem(tmp_path: Path) -> Iterator[MockModem]:
    with MockModem(tmp_path) as mock:
        yield mock


@pytest.fixture
def driver(modem: MockModem) -> Iterator[OpticalModemDriver]:
    opened = OpticalModemDriver(DeviceURL.parse(modem.url))
    opened.open(Deadline(5))
    yield opened
    opened.close()
