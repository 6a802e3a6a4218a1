"""The USB/IP server, driven by a client that is written here from the kernel's document."""

from __future__ import annotations

import errno
import socket
import struct
from typing import TYPE_CHECKING

import pytest

from qkd_hal_firmware_mocks.usb.loop_back import LoopBack
from qkd_hal_firmware_mocks.usb.usbip import UsbIpServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Self

OUT, IN = 0x01, 0x81
PACKET = 512
ZERO_PACKET = 0x40
STATUS = bytes.fromhex("8000000000000200")


class Host:
    """The kernel's end: sends URBs by number and reads what comes back."""

    def __init__(self, port: int) -> None:
        self.line = socket.create_connection(("127.0.0.1", port), timeout=10)

    def ask(self, code: int, tail: bytes, size: int) -> bytes:
        self.line.sendall(struct.pack(">HHI", 0x0111, code, 0) + tail)
        return self.read(size)

    def take_over(self) -> bytes:
        status = self.ask(0x8003, b"1-1".ljust(32, b"\0"), 8)
        if status[4:] == bytes(4):
            self.read(312)
        return status[4:]

    def submit(
        self,
        number: int,
        endpoint: int,
        data: bytes = b"",
        *,
        size: int = 0,
        setup: bytes = bytes(8),
        flags: int = 0,
    ) -> None:
        inward = endpoint >> 7 or int(not endpoint and setup[0] >> 7)
        self.line.sendall(
            struct.pack(">IIIII", 1, number, 0x10001, inward, endpoint & 0x0F)
            + struct.pack(">IIIII", flags, size or len(data), 0, 0xFFFFFFFF, 0)
            + setup
            + data
        )

    def unlink(self, number: int, target: int) -> None:
        self.line.sendall(struct.pack(">IIIIII24x", 2, number, 0x10001, 0, 0, target))

    def reply(self, *, inward: bool = False) -> tuple[int, int, int, bytes]:
        """Kind, number, status and data of the next reply."""
        kind, number, _, _, _, status, actual = struct.unpack(">IIIIIiI20x", self.read(48))
        data = self.read(actual) if inward and kind == 3 else b""
        return kind, number, -status, data

    def read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = self.line.recv(size - len(data))
            if not part:
                raise EOFError
            data += part
        return data

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.line.close()


@pytest.fixture
def firmware() -> LoopBack:
    return LoopBack()


@pytest.fixture
def server(firmware: LoopBack) -> Iterator[UsbIpServer]:
    with UsbIpServer(firmware) as served:
        yield served


@pytest.fixture
def host(server: UsbIpServer) -> Iterator[Host]:
    with Host(server.port) as attached:
        assert attached.take_over() == bytes(4)
        attached.submit(0, 0, size=2, setup=STATUS)  # its answer: the device is reset and up
        assert attached.reply(inward=True) == (3, 0, 0, b"\1\0")
        yield attached


def test_the_device_is_listed(server: UsbIpServer) -> None:
    with Host(server.port) as asking:
        reply = asking.ask(0x8005, b"", 12 + 312 + 4)
    assert reply[8:12] == b"\0\0\0\1"
    assert b"1-1\0" in reply


def test_one_host_at_a_time_takes_it_over(server: UsbIpServer, host: Host) -> None:
    assert host
    with Host(server.port) as second:
        assert second.take_over() == b"\0\0\0\1"
    server.unplug()
    with pytest.raises(EOFError):
        host.read(1)
    with Host(server.port) as third:
        assert third.take_over() == bytes(4)


def test_another_device_is_not_there(server: UsbIpServer) -> None:
    with Host(server.port) as asking:
        assert asking.ask(0x8003, b"9-9".ljust(32, b"\0"), 8)[4:] == b"\0\0\0\1"


def test_what_goes_out_comes_back(host: Host) -> None:
    message = bytes(i % 251 for i in range(3 * PACKET + 5))
    host.submit(1, OUT, message)
    host.submit(2, IN, size=16 * PACKET)
    assert host.reply() == (3, 1, 0, b"")
    assert host.reply(inward=True) == (3, 2, 0, message)


def test_a_zero_length_packet_follows_when_asked_for(host: Host) -> None:
    host.submit(1, OUT, bytes(PACKET), flags=ZERO_PACKET)
    host.submit(2, IN, size=4 * PACKET)
    host.reply()
    assert host.reply(inward=True) == (3, 2, 0, bytes(PACKET))


def test_a_read_waits_until_the_firmware_wakes_it(host: Host, firmware: LoopBack) -> None:
    host.submit(1, IN, size=PACKET)
    host.submit(2, 0, size=2, setup=STATUS)
    assert host.reply(inward=True) == (3, 2, 0, b"\1\0")  # so the first has been seen
    firmware.say(b"news")
    assert host.reply(inward=True) == (3, 1, 0, b"news")


def test_an_unlinked_read_never_takes_data(host: Host, firmware: LoopBack) -> None:
    host.submit(1, IN, size=PACKET)
    host.unlink(2, 1)
    assert host.reply() == (4, 2, errno.ECONNRESET, b"")
    firmware.say(b"for the next")
    host.submit(3, IN, size=PACKET)
    assert host.reply(inward=True) == (3, 3, 0, b"for the next")


def test_an_unlink_that_crosses_its_reply_is_acknowledged(host: Host) -> None:
    host.submit(1, OUT, b"x")
    assert host.reply() == (3, 1, 0, b"")
    host.unlink(2, 1)
    assert host.reply() == (4, 2, 0, b"")


def test_what_an_unlinked_read_had_taken_is_handed_over(host: Host, firmware: LoopBack) -> None:
    firmware.offer_packet(bytes(PACKET))
    host.submit(1, IN, size=4 * PACKET)
    host.unlink(2, 1)
    assert host.reply(inward=True) == (3, 1, 0, bytes(PACKET))
    assert host.reply() == (4, 2, 0, b"")


def test_a_stall_is_epipe_until_cleared(host: Host, firmware: LoopBack) -> None:
    firmware.stalled = {IN}
    for number in (1, 2):
        host.submit(number, IN, size=PACKET)
        assert host.reply(inward=True) == (3, number, errno.EPIPE, b"")
    host.submit(3, 0, setup=bytes.fromhex("0201000081000000"))
    assert host.reply() == (3, 3, 0, b"")
    firmware.say(b"on")
    host.submit(4, IN, size=PACKET)
    assert host.reply(inward=True) == (3, 4, 0, b"on")


def test_the_number_of_a_waiting_urb_is_not_used_again(
    host: Host, server: UsbIpServer, capfd: pytest.CaptureFixture[str]
) -> None:
    host.submit(1, IN, size=PACKET)
    host.submit(1, IN, size=PACKET)
    with pytest.raises(EOFError):
        host.reply()
    server.close()
    assert "URB 1 twice" in capfd.readouterr().err


def test_nonsense_ends_the_connection_and_nothing_else(
    server: UsbIpServer, capfd: pytest.CaptureFixture[str]
) -> None:
    with Host(server.port) as wrong, pytest.raises(EOFError):
        wrong.ask(0xFFFF, b"", 1)
    with Host(server.port) as mute:
        assert mute.line
    with Host(server.port) as right:
        assert right.take_over() == bytes(4)
    server.close()
    assert "no request of USB/IP" in capfd.readouterr().err


def test_a_plug_is_a_reset(server: UsbIpServer, firmware: LoopBack) -> None:
    before = firmware.resets
    with Host(server.port) as attached:
        attached.take_over()
        attached.submit(1, 0, size=2, setup=STATUS)
        attached.reply(inward=True)
    assert firmware.resets == before + 1
