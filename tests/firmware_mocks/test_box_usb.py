"""The box behind USB: frames on bulk endpoints, the bell, and LINK_RESET."""

from __future__ import annotations

import os
import struct
import time
from typing import TYPE_CHECKING, Any

import pytest
import usb.core
import usb.util

from qkd_hal_firmware_mocks.boxlink import BoxLine, BoxPair, BoxUsb
from qkd_hal_firmware_mocks.boxlink.byte_line import PieceReader, to_line
from qkd_hal_firmware_mocks.boxlink.pair import make_settings
from qkd_hal_firmware_mocks.boxlink.settings import USB_CHUNK
from qkd_hal_firmware_mocks.usb.cdc_acm import CdcAcm
from qkd_hal_firmware_mocks.usb.function import Setup
from qkd_hal_firmware_mocks.usb.virtual_bus import VirtualBus
from tests.firmware_mocks.box_host import CODES, REQ, RSP, Host, clear, hello

if TYPE_CHECKING:
    from collections.abc import Iterator

PSK = bytes(range(32))
OUT, IN, BELL = 0x01, 0x81, 0x82
PACKET = 512
MS = 2000


@pytest.fixture
def pair() -> Iterator[BoxPair]:
    settings = make_settings((PSK, PSK), max_chunk=USB_CHUNK)
    with BoxPair(settings, stored=1 << 20, seed=1) as made:
        yield made


@pytest.fixture
def box(pair: BoxPair) -> Iterator[BoxUsb]:
    made = BoxUsb(pair.alice)
    yield made
    made.server.outlet.close()


@pytest.fixture
def device(box: BoxUsb) -> Iterator[Any]:
    bus = VirtualBus()
    bus.plug(box)
    found = usb.core.find(backend=bus.backend, idVendor=0x1209, idProduct=0x0001)
    yield found
    usb.util.dispose_resources(found)


@pytest.fixture
def host(device: Any) -> Host:
    def exchange(frame: bytes) -> list[bytes]:
        device.write(OUT, frame, MS)
        if len(frame) % PACKET == 0:
            device.write(OUT, b"", MS)
        return [bytes(device.read(IN, 65536, MS))]

    opened = Host(exchange, PSK, "bob")
    opened.open(max_frame=65536)
    return opened


def test_the_descriptors_are_those_of_the_page(device: Any) -> None:
    interface = device[0][(0, 0)]
    triple = (interface.bInterfaceClass, interface.bInterfaceSubClass, interface.bInterfaceProtocol)
    assert triple == (0xFF, 0x51, 0x4B)
    assert usb.util.get_string(device, interface.iInterface).startswith("boxlink")
    assert device.serial_number == "MOCK-ALICE"
    ends = [(end.bEndpointAddress, end.bmAttributes & 3) for end in interface]
    assert ends == [(OUT, 2), (IN, 2), (BELL, 3)]


def test_keys_of_all_lengths_come_whole(host: Host) -> None:
    """Also where the frame is a multiple of the packet: a zero-length packet ends it."""
    asked = {"size": 1024, "count": 1, "token": bytes(16)}
    (key_id,) = host.do("RESERVE", **asked)["ids"]
    lengths = set()
    whole = host.do("FETCH", id=key_id, offset=0, size=1024)["data"]
    for size in range(460, 480):
        frame = host.request("FETCH", id=key_id, offset=0, size=size)
        (answer,) = host._exchange(frame)
        lengths.add(len(answer) % PACKET)
        assert host.read(answer)[1]["data"] == whole[:size]
    assert 0 in lengths


def test_requests_of_all_lengths_come_whole(host: Host) -> None:
    lengths = set()
    for size in range(430, 480):
        frame = host.request("INFO", padding=bytes(size))
        lengths.add(len(frame) % PACKET)
        assert host.read(host._exchange(frame)[0])[0] == RSP
    assert 0 in lengths


def test_chunks_are_long_on_usb(pair: BoxPair, host: Host, device: Any) -> None:
    key = os.urandom(40000)
    pair.alice.keys.store([(bytes(16), len(key), key)])
    (_, said), *_ = host.ask("FETCH", id=bytes(16), offset=0, size=len(key))
    parts = [host.read(bytes(device.read(IN, 65536, MS)))[1] for _ in range(3)]
    assert b"".join(part[8:] for part in parts) == key
    assert said["total"] == len(key)


def test_the_bell_tells_how_many_frames_wait(device: Any) -> None:
    for number in (1, 2):
        device.write(OUT, clear(REQ, number, "HELLO", hello()), MS)
    assert struct.unpack(">II", bytes(device.read(BELL, 8, MS))) == (2, 2)
    with pytest.raises(usb.core.USBTimeoutError):
        device.read(BELL, 8, 50)
    for _ in range(2):
        device.read(IN, 4096, MS)
    device.write(OUT, clear(REQ, 3, "HELLO", hello()), MS)
    assert struct.unpack(">II", bytes(device.read(BELL, 8, MS))) == (1, 3)


def test_an_event_rings(pair: BoxPair, host: Host, device: Any) -> None:
    host.do("INFO")
    pair.alice.notify(event="keys", stored_keys=3)
    assert struct.unpack(">II", bytes(device.read(BELL, 8, MS)))[0] == 1
    host.read_all([bytes(device.read(IN, 4096, MS))])
    assert host.events == [{"event": "keys", "stored_keys": 3}]


def test_link_reset_drops_what_is_on_its_way(device: Any, host: Host) -> None:
    device.write(OUT, host.request("INFO"), MS)
    device.write(OUT, bytes(PACKET), MS)  # a frame that goes on
    device.ctrl_transfer(0x41, 1, 0, 0, b"", MS)
    with pytest.raises(usb.core.USBTimeoutError):
        device.read(IN, 4096, 50)
    host.do("INFO")


def test_other_requests_stall(device: Any) -> None:
    for kind, request in ((0x41, 2), (0x40, 1)):
        with pytest.raises(usb.core.USBError) as error:
            device.ctrl_transfer(kind, request, 0, 0, b"", MS)
        assert error.value.errno == 32


def test_a_frame_too_long_is_skipped_to_its_end(device: Any, box: BoxUsb, host: Host) -> None:
    for _ in range(100):
        box.receive(OUT, bytes(PACKET))
    assert len(box._incoming) <= 8192 + PACKET
    box.receive(OUT, b"")
    host.do("INFO")


def test_a_host_that_never_reads_takes_no_memory(box: BoxUsb) -> None:
    (asked, answer) = (clear(REQ, 1, "AUTH", {"proof": bytes(32)}), 35)
    for _ in range((1 << 20) // answer + 1000):
        box.receive(OUT, asked)
    assert (1 << 20) - 100 < sum(map(len, box._outgoing)) <= 1 << 20
    while box.send(IN):
        pass
    assert box._waiting == 0


def test_naks_end_and_nothing_is_lost(box: BoxUsb, device: Any, host: Host) -> None:
    box.server.plan.once("nak")
    begin = time.monotonic()
    host.do("INFO")
    assert time.monotonic() - begin > 0.08


def test_a_halted_endpoint_is_cleared(box: BoxUsb, device: Any, host: Host) -> None:
    box.server.plan.once("halt")
    device.write(OUT, host.request("INFO"), MS)
    with pytest.raises(usb.core.USBError) as error:
        device.read(IN, 4096, MS)
    assert error.value.errno == 32
    device.clear_halt(IN)
    assert host.read(bytes(device.read(IN, 4096, MS)))[0] == RSP


def test_the_same_box_is_a_usb_serial_port(pair: BoxPair) -> None:
    port = CdcAcm(BoxLine(pair.alice), interface="boxlink")
    port.attach(lambda: None)
    port.control(Setup(0x21, 0x22, 1, 0, 0), b"")
    port.receive(OUT, to_line(clear(REQ, 1, "HELLO", hello())))
    (answer,) = PieceReader(8192).feed(port.send(IN) or b"")
    assert answer[5:7] == bytes([0, CODES["HELLO"]])
