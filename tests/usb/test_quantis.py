"""The generator's driver: buffers come full or not at all, on any USB stack."""

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
    DeviceBusyError,
    DeviceClosedError,
    DeviceError,
    DeviceLostError,
    DeviceNotFoundError,
    QKDError,
)
from qkd_hal_drivers import _usb
from qkd_hal_firmware_mocks.quantis.firmware import PACKET, Quantis

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qkd_hal.instruments import EntropyInstrument
    from qkd_hal_firmware_mocks.usb.virtual_bus import Plugged
    from qkd_hal_firmware_mocks.usb.worlds import UsbWorld

URL = "quantis://1209:0007"
STARTUP = 2048


@pytest.fixture
def world(usb_world: UsbWorld, monkeypatch: pytest.MonkeyPatch) -> UsbWorld:
    monkeypatch.setattr(_usb, "provide_backend", lambda: usb_world.backend)
    return usb_world


@pytest.fixture
def firmware() -> Quantis:
    return Quantis(random.Random(4).randbytes)


@pytest.fixture
def plugged(world: UsbWorld, firmware: Quantis) -> Plugged:
    return world.plug(firmware)


@pytest.fixture
def generator(plugged: Plugged) -> Iterator[EntropyInstrument]:
    assert plugged.address
    with open_entropy_source(URL) as opened:
        yield opened


def _read(generator: EntropyInstrument, size: int) -> bytes:
    buffer = bytearray(size)
    generator.read_into(memoryview(buffer))
    return bytes(buffer)


def _refused(kind: type[QKDError], words: str, url: str = URL) -> None:
    with pytest.raises(kind, match=words):
        open_entropy_source(url)


def _fails(generator: EntropyInstrument, kind: type[QKDError], words: str) -> None:
    """A read fails, and leaves nothing in the buffer."""
    buffer = bytearray(b"\x55" * 3000)
    with pytest.raises(kind, match=words) as caught:
        generator.read_into(memoryview(buffer))
    assert caught.value.device == URL
    assert buffer == bytes(3000)


def test_a_buffer_is_filled_to_its_last_byte_with_the_boards_bytes(
    generator: EntropyInstrument,
) -> None:
    stream = random.Random(4)
    skipped = b"".join(stream.randbytes(PACKET) for _ in range(STARTUP // PACKET))
    assert len(skipped) == STARTUP
    for size in (0, 1, PACKET - 1, PACKET, PACKET + 1, 16384, 100_001):
        packets = b"".join(stream.randbytes(PACKET) for _ in range(-(-size // PACKET)))
        assert _read(generator, size) == packets[:size]  # nothing twice, nothing kept


def test_views_of_wider_items_are_filled_too(generator: EntropyInstrument) -> None:
    buffer = bytearray(64)
    generator.read_into(memoryview(buffer).cast("Q"))
    assert buffer.count(0) < 8


def test_the_board_says_what_it_is(generator: EntropyInstrument) -> None:
    assert generator.board_version == 2  # type: ignore[attr-defined]
    assert generator.kilobits_per_second == 4000  # type: ignore[attr-defined]


PACKETS = st.lists(st.integers(0, PACKET), max_size=12)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25
)
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


def test_unplugging_wakes_a_read(
    world: UsbWorld, firmware: Quantis, plugged: Plugged, generator: EntropyInstrument
) -> None:
    firmware.silent = True
    pulling = threading.Timer(0.1, world.unplug, (plugged,))
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


def test_closing_gives_the_board_to_the_next(plugged: Plugged) -> None:
    assert plugged.address
    with open_entropy_source(URL):
        _refused(DeviceBusyError, "something else uses")
    open_entropy_source(URL).close()


def test_a_serial_number_chooses_among_several(world: UsbWorld, firmware: Quantis) -> None:
    _refused(DeviceNotFoundError, "no such device is plugged in")
    _refused(DeviceNotFoundError, "no such device", "quantis:")
    world.plug(firmware)
    world.plug(Quantis(serial_number="B"))
    _refused(ConfigurationError, "several devices fit: B, MOCK0001.*Add one")
    _refused(DeviceNotFoundError, "no such device", f"{URL}/C")
    open_entropy_source(f"{URL}/B").close()
