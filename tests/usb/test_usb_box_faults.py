"""What only a bus in this process can be told to do to a box."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qkd_hal import open_device
from qkd_hal.errors import DeadlineError, DeviceError, DevicePermissionError, QKDError
from qkd_hal.sources import Deadline
from qkd_hal_drivers import _usb
from qkd_hal_drivers.usb_box.transport import UsbTransport
from qkd_hal_firmware_mocks.boxlink import BoxPair
from qkd_hal_firmware_mocks.boxlink.pair import make_settings
from qkd_hal_firmware_mocks.boxlink.usb import BoxUsb
from qkd_hal_firmware_mocks.usb.function import Nak
from qkd_hal_firmware_mocks.usb.virtual_bus import VirtualBus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PSK = bytes(range(32))


@pytest.fixture
def bus(monkeypatch: pytest.MonkeyPatch) -> VirtualBus:
    bus = VirtualBus()
    monkeypatch.setattr(_usb, "provide_backend", lambda: bus.backend)
    return bus


@pytest.fixture
def pair() -> Iterator[BoxPair]:
    with BoxPair(make_settings((PSK, PSK))) as pair:
        yield pair


@pytest.fixture
def url(url_with: Callable[[bytes], str]) -> str:
    return url_with(PSK)


def test_no_right_to_open_it_names_the_cure(bus: VirtualBus, pair: BoxPair, url: str) -> None:
    bus.plug(BoxUsb(pair.alice), permitted=False)
    with pytest.raises(DevicePermissionError, match="qkd-hal udev install"):
        open_device(url).init()


def test_a_kernel_driver_is_detached(bus: VirtualBus, pair: BoxPair, url: str) -> None:
    plugged = bus.plug(BoxUsb(pair.alice), kernel_drivers=[0])
    with open_device(url) as device:
        assert device.status().stored_keys
    assert not plugged.bound


def test_an_unconfigured_device_is_configured(bus: VirtualBus, pair: BoxPair, url: str) -> None:
    bus.plug(BoxUsb(pair.alice), configured=False)
    with open_device(url) as device:
        assert device.status().stored_keys


def test_nothing_stays_claimed_after_a_failure(
    bus: VirtualBus, pair: BoxPair, url_with: Callable[[bytes], str]
) -> None:
    plugged = bus.plug(BoxUsb(pair.alice))
    with pytest.raises(QKDError):
        open_device(url_with(bytes(32))).init()
    assert not plugged.claims


def test_packets_without_an_end_do_not_hold_a_call(
    bus: VirtualBus, url: str, pair: BoxPair
) -> None:
    box = _Endless(pair.alice)
    bus.plug(box)
    with open_device(url) as device:
        box.endless = True
        with pytest.raises((DeadlineError, DeviceError)):
            device.status(timeout=0.3)


def test_a_frame_that_fills_its_packets_ends(bus: VirtualBus, pair: BoxPair) -> None:
    """Without the zero-length packet the box would take the next frame for its rest."""
    box = BoxUsb(pair.alice)
    bus.plug(box)
    taken: list[int] = []
    box.server.serve = lambda frame: taken.append(len(frame))  # type: ignore[method-assign]
    transport = UsbTransport((0x1209, 1), "", "usb://1209:0001")
    transport.open(Deadline(1))
    for size in (511, 512, 513, 1024):
        transport.send(bytes(size), Deadline(1))
    transport.close()
    assert taken == [511, 512, 513, 1024]


def test_a_box_that_takes_nothing_is_given_up_in_time(
    bus: VirtualBus, pair: BoxPair, url: str
) -> None:
    box = _Full(pair.alice)
    bus.plug(box)
    with open_device(url) as device:
        box.full = True
        with pytest.raises(DeadlineError):
            device.status(timeout=0.3)
        box.full = False
        assert device.status().stored_keys


class _Full(BoxUsb):
    full = False

    def receive(self, endpoint: int, data: bytes) -> None:
        """Take nothing."""
        if self.full:
            raise Nak
        super().receive(endpoint, data)


class _Endless(BoxUsb):
    endless = False

    def send(self, endpoint: int) -> bytes | None:
        """Give full packets for ever."""
        return bytes(512) if self.endless and endpoint == 0x81 else super().send(endpoint)
