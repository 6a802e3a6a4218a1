"""The serial port's requests, and what its stream hears of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import usb.core

from qkd_hal_firmware_mocks.usb.cdc_acm import CdcAcm, LineCoding
from qkd_hal_firmware_mocks.usb.virtual_bus import VirtualBus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TO, FROM = 0x21, 0xA1
OUT, IN, NOTIFY = 0x01, 0x81, 0x82


class Listener:
    """Keeps what happens to it."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.attached = 0
        self.hang_ups = 0

    def attach(self, send: Callable[[bytes], None]) -> None:
        self.send = send
        self.attached += 1

    def feed(self, data: bytes) -> None:
        self.heard.append(data)

    def hang_up(self) -> None:
        self.hang_ups += 1


@pytest.fixture
def stream() -> Listener:
    return Listener()


@pytest.fixture
def firmware(stream: Listener) -> CdcAcm:
    return CdcAcm(stream)


@pytest.fixture
def port(firmware: CdcAcm) -> Iterator[Any]:
    bus = VirtualBus()
    bus.plug(firmware)
    device = usb.core.find(backend=bus.backend)
    yield device
    usb.util.dispose_resources(device)


def test_the_line_coding_is_taken_and_given_back(port: Any, firmware: CdcAcm) -> None:
    port.ctrl_transfer(TO, 0x20, 0, 0, bytes.fromhex("00c20100000008"))
    assert firmware.line_coding == LineCoding(115200, 0, 0, 8)
    assert port.ctrl_transfer(FROM, 0x21, 0, 0, 7).tobytes() == bytes.fromhex("00c20100000008")


@pytest.mark.parametrize(
    ("kind", "number", "data"),
    [(TO, 0x20, b"short"), (TO, 0x42, b""), (0x41, 0x22, b"")],
)
def test_other_requests_stall(port: Any, kind: int, number: int, data: bytes) -> None:
    with pytest.raises(usb.core.USBError, match="Pipe"):
        port.ctrl_transfer(kind, number, 0, 0, data)


def test_dtr_opens_and_closes(port: Any, firmware: CdcAcm, stream: Listener) -> None:
    attached, hang_ups = stream.attached, stream.hang_ups
    port.ctrl_transfer(TO, 0x22, 3, 0, b"")
    assert (firmware.dtr, firmware.rts) == (True, True)
    assert (stream.attached, stream.hang_ups) == (attached + 1, hang_ups)
    port.ctrl_transfer(TO, 0x22, 1, 0, b"")
    assert (firmware.dtr, firmware.rts) == (True, False)
    assert (stream.attached, stream.hang_ups) == (attached + 1, hang_ups)
    port.ctrl_transfer(TO, 0x22, 0, 0, b"")
    assert not firmware.dtr
    assert stream.hang_ups == hang_ups + 1


def test_a_break_hangs_up_once(port: Any, firmware: CdcAcm, stream: Listener) -> None:
    before = stream.hang_ups
    port.ctrl_transfer(TO, 0x23, 0xFFFF, 0, b"")
    port.ctrl_transfer(TO, 0x23, 0, 0, b"")
    assert firmware.breaks == [0xFFFF]
    assert stream.hang_ups == before + 1


def test_bytes_go_both_ways_and_empty_packets_nowhere(port: Any, stream: Listener) -> None:
    port.write(OUT, b"ask")
    port.write(OUT, b"")
    assert stream.heard == [b"ask"]
    stream.send(b"answer")
    assert port.read(IN, 512).tobytes() == b"answer"
    with pytest.raises(usb.core.USBTimeoutError):
        port.read(NOTIFY, 16, 20)


def test_the_bus_is_woken_by_what_the_stream_sends(firmware: CdcAcm, stream: Listener) -> None:
    woken: list[None] = []
    firmware.attach(lambda: woken.append(None))
    stream.send(b"news")
    assert len(woken) == 1


def test_a_reset_closes_the_port(port: Any, firmware: CdcAcm) -> None:
    port.ctrl_transfer(TO, 0x22, 3, 0, b"")
    port.reset()
    assert (firmware.dtr, firmware.rts) == (False, False)


def test_what_a_closed_port_had_waiting_is_gone(port: Any, stream: Listener) -> None:
    port.ctrl_transfer(TO, 0x22, 1, 0, b"")
    stream.send(b"stale")
    port.ctrl_transfer(TO, 0x22, 0, 0, b"")
    with pytest.raises(usb.core.USBTimeoutError):
        port.read(IN, 512, 20)


def test_a_host_that_does_not_read_costs_a_bounded_buffer(
    firmware: CdcAcm, stream: Listener
) -> None:
    firmware.attach(lambda: None)
    for _ in range(40):
        stream.send(bytes(1 << 16))
    size = 0
    while packet := firmware.send(IN):
        size += len(packet)
    assert size == 1 << 20
