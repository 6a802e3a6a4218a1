"""The generator's driver on a virtual bus: buffers come full or not at all."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qkd_hal import open_entropy_source
from qkd_hal.errors import (
    ConfigurationError,
    DeadlineError,
    DeviceBusyError,
    DeviceClosedError,
    DeviceError,
    DeviceLostError,
    DeviceNotFoundError,
    DevicePermissionError,
    ProtocolError,
    QKDError,
)
from qkd_hal_drivers import _usb
from qkd_hal_drivers.quantis import generator as generator_module
from qkd_hal_firmware_mocks.quantis.firmware import PACKET, Quantis
from qkd_hal_firmware_mocks.usb.virtual_bus import VirtualBus

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qkd_hal.instruments import EntropyInstrument

URL = "quantis://1209:0007"
STARTUP = 2048


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


@pytest.mark.parametrize("size", [0, 1, PACKET - 1, PACKET, PACKET + 1, 16384, 100_001])
def test_a_buffer_is_filled_to_its_last_byte_with_the_boards_bytes(
    generator: EntropyInstrument, size: int
) -> None:
    expected = random.Random(4).randbytes(STARTUP + PACKET * (size // PACKET + 1))
    stream = random.Random(4)
    packets = b"".join(stream.randbytes(PACKET) for _ in range(len(expected) // PACKET))
    assert _read(generator, size) == packets[STARTUP : STARTUP + size]


def test_no_byte_comes_twice_and_none_is_read_ahead(generator: EntropyInstrument) -> None:
    stream = random.Random(4)
    packets = [stream.randbytes(PACKET) for _ in range(STARTUP // PACKET + 2)]
    assert _read(generator, 10) == packets[-2][:10]
    assert _read(generator, 10) == packets[-1][:10]


def test_views_of_wider_items_are_filled_too(generator: EntropyInstrument) -> None:
    buffer = bytearray(64)
    generator.read_into(memoryview(buffer).cast("Q"))
    assert buffer.count(0) < 8


def test_the_board_says_what_it_is(generator: EntropyInstrument) -> None:
    assert generator.board_version == 2  # type: ignore[attr-defined]
    assert generator.kilobits_per_second == 4000  # type: ignore[attr-defined]


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


PACKETS = st.lists(st.integers(0, PACKET), max_size=12)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(PACKETS, st.integers(1, 3000))
def test_short_packets_and_empty_ones_make_no_short_read(
    firmware: Quantis, generator: EntropyInstrument, sizes: list[int], size: int
) -> None:
    stream = random.Random(8)
    scripted = [stream.randbytes(each) for each in sizes]
    firmware.scripted.extend(scripted)
    got = _read(generator, size)
    sent = b"".join(scripted)
    firmware.scripted.clear()
    assert len(got) == size
    assert got[: len(sent)] == sent[:size]


def test_a_halted_endpoint_is_set_going_again(
    firmware: Quantis, generator: EntropyInstrument
) -> None:
    firmware.stalls = 3
    assert len(_read(generator, 5000)) == 5000
    assert firmware.stalls == 0


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


def test_a_module_that_fails_taints_what_was_just_read(
    firmware: Quantis, generator: EntropyInstrument
) -> None:
    firmware.module_ok = False
    _fails(generator, DeviceError, "a failed module .mask 0x01.*replace")
    firmware.module_ok = True
    assert len(_read(generator, 9)) == 9


def test_a_health_test_that_failed_fails_for_good(
    firmware: Quantis, generator: EntropyInstrument
) -> None:
    firmware.scripted.append(bytes(PACKET))
    _fails(generator, DeviceError, "failed the repetition count test")
    _fails(generator, DeviceError, "failed the repetition count test")


def test_modules_that_are_off_are_switched_on(bus: VirtualBus, firmware: Quantis) -> None:
    firmware.module_ok = False
    bus.plug(firmware)
    _refused(DeviceError, "a failed module")
    assert firmware.restarts == 1
    firmware.modules = 0
    _refused(DeviceError, "no module")


def test_unplugging_wakes_a_read(
    bus: VirtualBus, firmware: Quantis, generator: EntropyInstrument
) -> None:
    firmware.silent = True
    (plugged,) = bus.backend.enumerate_devices()
    pulling = threading.Timer(0.1, bus.unplug, (plugged,))
    pulling.start()
    _fails(generator, DeviceLostError, "went away")
    pulling.join()


def test_close_from_another_thread_wakes_a_read(
    firmware: Quantis, generator: EntropyInstrument
) -> None:
    firmware.silent = True
    closing = threading.Timer(0.1, generator.close)
    closing.start()
    _fails(generator, DeviceClosedError, "was closed")
    closing.join()
    generator.close()


def test_closing_gives_the_board_to_the_next(bus: VirtualBus, firmware: Quantis) -> None:
    bus.plug(firmware)
    with open_entropy_source(URL):
        _refused(DeviceBusyError, "something else uses")
    open_entropy_source(URL).close()


def test_a_serial_number_chooses_among_several(bus: VirtualBus, firmware: Quantis) -> None:
    _refused(DeviceNotFoundError, "no such device is plugged in")
    _refused(DeviceNotFoundError, "no such device", "quantis:")
    bus.plug(firmware)
    bus.plug(Quantis(serial_number="B"))
    _refused(ConfigurationError, "several devices fit: MOCK0001, B.*Add one")
    _refused(DeviceNotFoundError, "no such device", f"{URL}/C")
    open_entropy_source(f"{URL}/B").close()


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
    bus.plug(Quantis(stream=0x81))
    _refused(ProtocolError, "no Quantis: it has no stream")


def test_a_lying_answer_is_no_number(
    bus: VirtualBus, firmware: Quantis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(firmware, "control", lambda setup, data: b"\x01")
    bus.plug(firmware)
    _refused(ProtocolError, "request 0x10 was answered with 1 bytes, not 4")


@pytest.mark.parametrize("url", ["quantis:/x", "quantis://host", f"{URL}?pace=1", "quantis:first"])
def test_a_url_that_names_no_device_is_refused(bus: VirtualBus, url: str) -> None:
    assert _refused(ConfigurationError, "names no", url).cure
