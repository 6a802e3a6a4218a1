"""The generator's driver, where only a virtual bus can show the fault; see also tests/usb."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from qkd_hal import open_entropy_source
from qkd_hal.errors import (
    ConfigurationError,
    DeadlineError,
    DeviceBusyError,
    DeviceError,
    DevicePermissionError,
    ProtocolError,
    QKDError,
)
from qkd_hal_drivers import _usb
from qkd_hal_drivers.quantis import generator as generator_module
from qkd_hal_firmware_mocks.quantis.firmware import Quantis
from qkd_hal_firmware_mocks.usb.virtual_bus import VirtualBus

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qkd_hal.instruments import EntropyInstrument

URL = "quantis://1209:0007"


@pytest.fixture
def bus(monkeypatch: pytest.MonkeyPatch) -> VirtualBus:
    bus = VirtualBus()
    monkeypatch.setattr(_usb, "provide_backend", lambda: bus.backend)
    return bus


@pytest.fixture
def firmware() -> Quantis:
    return Quantis(random.Random(4).randbytes)


@pytest.fixture
def generator(bus: VirtualBus, firmware: Quantis) -> Iterator[EntropyInstrument]:
    bus.plug(firmware)
    with open_entropy_source(URL) as opened:
        yield opened


def _read(generator: EntropyInstrument, size: int) -> bytes:
    buffer = bytearray(size)
    generator.read_into(memoryview(buffer))
    return bytes(buffer)


def _refused(kind: type[QKDError], words: str, url: str = URL) -> QKDError:
    with pytest.raises(kind, match=words) as caught:
        open_entropy_source(url, timeout=0.2)
    return caught.value


def _fails(generator: EntropyInstrument, kind: type[QKDError], words: str) -> None:
    """A read fails, and leaves nothing in the buffer."""
    buffer = bytearray(b"\x55" * 3000)
    with pytest.raises(kind, match=words) as caught:
        generator.read_into(memoryview(buffer))
    assert caught.value.device == URL
    assert buffer == bytes(3000)


def test_the_tests_that_the_board_asks_for_are_confirmed_once_passed(
    bus: VirtualBus, firmware: Quantis
) -> None:
    bus.plug(firmware)
    open_entropy_source(URL).close()
    assert not firmware.tests_wanted
    stuck = Quantis(lambda size: bytes(size), serial_number="STUCK")
    bus.plug(stuck)
    _refused(DeviceError, "failed the repetition count test.*repaired", f"{URL}/STUCK")
    assert stuck.tests_wanted


@pytest.mark.parametrize("fault", ["silent", "halted", "empty"])
def test_a_board_that_gives_nothing_is_given_up(
    firmware: Quantis,
    generator: EntropyInstrument,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
) -> None:
    monkeypatch.setattr(generator_module, "_QUIET_SECONDS", 0.3)
    firmware.silent = True
    firmware.stalls = 1 << 40 if fault == "halted" else 0
    firmware.scripted.extend([b""] * (1_000_000 if fault == "empty" else 0))
    _fails(generator, DeadlineError, "gives no bytes")


def test_modules_that_are_off_are_switched_on(bus: VirtualBus, firmware: Quantis) -> None:
    firmware.module_ok = False
    bus.plug(firmware)
    _refused(DeviceError, "a failed module")
    assert firmware.restarts == 1
    firmware.modules = 0
    _refused(DeviceError, "no module")


def test_a_device_without_permission_names_the_rule(bus: VirtualBus, firmware: Quantis) -> None:
    bus.plug(firmware, permitted=False)
    for url in (URL, f"{URL}/MOCK0001"):
        _refused(DevicePermissionError, "may not open.*udev install", url)


def test_a_device_in_the_kernels_hands_is_busy(bus: VirtualBus, firmware: Quantis) -> None:
    bus.plug(firmware, kernel_drivers=[0])
    _refused(DeviceBusyError, "kernel's driver")


def test_an_unconfigured_device_is_configured(bus: VirtualBus, firmware: Quantis) -> None:
    bus.plug(firmware, configured=False)
    with open_entropy_source(URL) as generator:
        assert len(_read(generator, 20)) == 20


def test_something_else_with_these_numbers_is_told_apart(bus: VirtualBus) -> None:
    plugged = bus.plug(Quantis(stream=0x81))
    refused = _refused(ProtocolError, "no Quantis: it has no stream")
    assert refused.device == URL
    assert not plugged.claims


def test_a_lying_answer_is_no_number(
    bus: VirtualBus, firmware: Quantis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(firmware, "control", lambda setup, data: b"\x01")
    bus.plug(firmware)
    _refused(ProtocolError, "request 0x10 was answered with 1 bytes, not 4")


@pytest.mark.parametrize("url", ["quantis:/x", "quantis://host", f"{URL}?pace=1", "quantis:first"])
def test_a_url_that_names_no_device_is_refused(bus: VirtualBus, url: str) -> None:
    assert _refused(ConfigurationError, "names no", url).cure
