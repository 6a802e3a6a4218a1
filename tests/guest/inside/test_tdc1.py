"""The time-stamp unit as the kernel shows it: ``/dev/ttyACM0``, by cdc-acm."""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING

import numpy as np
import pytest
import serial.tools.list_ports

from qkd_hal import open_detection_source
from qkd_hal.errors import DeviceLostError
from qkd_hal.sources import Deadline
from qkd_hal_firmware_mocks.tdc1.clicks import steady_clicks
from qkd_hal_firmware_mocks.tdc1.firmware import Tdc1Firmware
from qkd_hal_firmware_mocks.usb.cdc_acm import CdcAcm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qkd_hal_firmware_mocks.usb.virtual_bus import Plugged
    from qkd_hal_firmware_mocks.usb.worlds import UsbWorld

GRID_HZ = 100_000
PULSES = 30_000
SERIAL = "TDC1-7"


def _clicks() -> Iterator[tuple[int, int]]:
    return steady_clicks([800.0, 600.0, 400.0, 200.0], seed=3, grid_hz=GRID_HZ)


def _paths() -> list[str]:
    ports = serial.tools.list_ports.comports()
    return [port.device for port in ports if port.serial_number == SERIAL]


@pytest.fixture
def plugged(usb_world: UsbWorld) -> Plugged:
    names = ("S-Fifteen", "simulated TDC1", SERIAL)
    return usb_world.plug(CdcAcm(Tdc1Firmware(_clicks), product=0x0006, names=names))


@pytest.fixture
def url(plugged: Plugged, wait_for: Callable[[Callable[[], object]], None]) -> str:
    assert plugged.address
    wait_for(_paths)
    return f"tdc1://{_paths()[0]}?rate_hz={GRID_HZ}"


def test_every_pulse_with_light_is_detected_once(url: str) -> None:
    batches = []
    with open_detection_source(url, timeout=30) as tagger:
        for batch in tagger.batches(Deadline(60)):
            batches.append(batch)
            if batch.end_pulse > PULSES:
                break
    got = [int(p) for batch in batches for p in batch.pulses if p < PULSES]
    ticks = [tick for tick, _ in takewhile(lambda c: c[0] < 1e9, _clicks())]
    true = (np.array(ticks) - ticks[0]) // (500_000_000 // GRID_HZ)
    assert got == [int(pulse) for pulse in true if pulse < PULSES]


def test_unplugging_is_a_loss(url: str, usb_world: UsbWorld, plugged: Plugged) -> None:
    with open_detection_source(url, timeout=30) as tagger:
        batches = tagger.batches(Deadline(60))
        next(batches)
        usb_world.unplug(plugged)
        with pytest.raises(DeviceLostError, match="went away"):
            list(batches)
