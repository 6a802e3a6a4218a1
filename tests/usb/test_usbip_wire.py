"""USB/IP's bytes, against those that the kernel's own documentation captured."""

from __future__ import annotations

import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkd_hal_firmware_mocks.usb import usbip_wire as wire
from qkd_hal_firmware_mocks.usb.function import Setup
from qkd_hal_firmware_mocks.usb.loop_back import LoopBack
from qkd_hal_firmware_mocks.usb.usbip_wire import Import, ListDevices, Submit, Unlink, UsbIpError

# Linux, Documentation/usb/usbip_protocol.rst, section "EXAMPLE".
INTERRUPT_IN = bytes.fromhex(
    "00000001 00000d05 0001000f 00000001 00000001 00000200 00000040 ffffffff 00000000 00000004"
    "00000000 00000000"
)
INTERRUPT_OUT = bytes.fromhex(
    "00000001 00000d06 0001000f 00000000 00000001 00000000 00000040 ffffffff 00000000 00000004"
    "00000000 00000000 ffffffff860008a784ce5ae2123763"
) + bytes(49)
RETURNED_OUT = bytes.fromhex(
    "00000003 00000d06 00000000 00000000 00000000 00000000 00000040 ffffffff 00000000 00000000"
    "00000000 00000000"
)
RETURNED_IN = bytes.fromhex(
    "00000003 00000d05 00000000 00000000 00000000 00000000 00000040 ffffffff 00000000 00000000"
    "00000000 00000000 ffffffff860011a784ce5ae2123763612891b10201000004"
) + bytes(44)
START_FRAME = slice(28, 32)  # the capture has a kernel's -1, its text asks for 0

CONTROL = bytes.fromhex(
    "00000001 00000001 00010002 00000001 00000000 00000200 00000040 00000000 ffffffff 00000000"
    "8006000100004000"
)
UNLINK = bytes.fromhex("00000002 00000007 00010002 00000000 00000000 00000003") + bytes(24)


def without_start_frame(data: bytes) -> bytes:
    return data[: START_FRAME.start] + data[START_FRAME.stop :]


def test_captured_commands_are_read() -> None:
    buffer = bytearray(INTERRUPT_IN + INTERRUPT_OUT + CONTROL + UNLINK)
    nothing = Setup(0, 0, 0, 0, 0)
    assert list(wire.read_commands(buffer)) == [
        Submit(0xD05, 0x81, 64, nothing, b"", zero_packet=False),
        Submit(0xD06, 0x01, 64, nothing, INTERRUPT_OUT[48:], zero_packet=False),
        Submit(1, 0, 64, Setup(0x80, 6, 0x0100, 0, 64), b"", zero_packet=False),
        Unlink(7, 3),
    ]
    assert not buffer


def test_captured_replies_are_built() -> None:
    out = wire.submit_reply(0xD06, 0, 64, b"")
    inward = wire.submit_reply(0xD05, 0, 64, RETURNED_IN[48:])
    assert without_start_frame(out) == without_start_frame(RETURNED_OUT)
    assert without_start_frame(inward) == without_start_frame(RETURNED_IN)


def test_errors_are_negative_as_in_the_kernel() -> None:
    assert struct.unpack_from(">i", wire.submit_reply(1, errno.EPIPE, 0, b""), 20) == (-32,)
    unlinked = wire.unlink_reply(7, errno.ECONNRESET)
    assert struct.unpack(">IIIIIi24x", unlinked) == (4, 7, 0, 0, 0, -104)


def test_the_flag_of_a_zero_length_packet_is_read() -> None:
    flagged = bytearray(INTERRUPT_OUT)
    struct.pack_into(">I", flagged, 20, 0x40)
    (submit,) = wire.read_commands(flagged)
    assert isinstance(submit, Submit)
    assert submit.zero_packet


def test_requests_are_read() -> None:
    buffer = bytearray(bytes.fromhex("0111800500000000") + b"rest")
    assert wire.read_request(buffer) == ListDevices()
    assert buffer == b"rest"
    name = b"1-1".ljust(32, b"\0")
    buffer = bytearray(bytes.fromhex("0111800300000000") + name + b"rest")
    assert wire.read_request(buffer) == Import("1-1")
    assert buffer == b"rest"


def test_the_list_describes_the_device() -> None:
    reply = wire.device_list(LoopBack().descriptors, "1-1")
    assert reply[:12] == bytes.fromhex("0111000500000000") + b"\0\0\0\1"
    assert reply[12 + 256 : 12 + 288] == b"1-1".ljust(32, b"\0")
    numbers = struct.unpack_from(">IIIHHH", reply, 12 + 288)
    assert numbers == (1, 1, 3, 0x1209, 0x0001, 0x0100)
    assert reply[12 + 306 :] == bytes([0, 0, 0, 1, 1, 1]) + bytes([0xFF, 0, 0, 0])


def test_an_import_is_granted_or_refused() -> None:
    granted = wire.import_reply(LoopBack().descriptors, "1-1")
    assert granted[:8] == bytes.fromhex("0111000300000000")
    assert len(granted) == 8 + 312
    assert wire.import_reply(None, "1-1") == bytes.fromhex("0111000300000001")


@pytest.mark.parametrize("size", [1, 7, 48])
def test_commands_are_read_however_they_are_cut(size: int) -> None:
    stream = INTERRUPT_OUT + UNLINK + CONTROL + INTERRUPT_IN
    whole = list(wire.read_commands(bytearray(stream)))
    buffer = bytearray()
    got: list[wire.Command] = []
    for start in range(0, len(stream), size):
        buffer += stream[start : start + size]
        got += wire.read_commands(buffer)
    assert got == whole
    request = bytearray()
    for byte in bytes.fromhex("0111800300000000") + bytes(31):
        request.append(byte)
        assert wire.read_request(request) is None


@pytest.mark.parametrize(
    ("offset", "word"),
    [(0, 3), (0, 0), (12, 2), (16, 16), (24, (16 << 20) + 1), (32, 8)],
    ids=["reply", "zero", "direction", "endpoint", "size", "isochronous"],
)
def test_what_is_no_command_is_refused_before_its_data(offset: int, word: int) -> None:
    wrong = bytearray(INTERRUPT_OUT[:48])
    struct.pack_into(">I", wrong, offset, word)
    with pytest.raises(UsbIpError):
        list(wire.read_commands(wrong))


@pytest.mark.parametrize("head", ["0110800500000000", "0111800400000000"])
def test_what_is_no_request_is_refused(head: str) -> None:
    with pytest.raises(UsbIpError):
        wire.read_request(bytearray.fromhex(head))


def test_a_bus_id_is_ascii() -> None:
    with pytest.raises(UsbIpError):
        wire.read_request(bytearray.fromhex("0111800300000000") + b"\xff" * 32)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for read in (wire.read_request, lambda buffer: list(wire.read_commands(buffer))):
        try:
            read(bytearray(data))
        except UsbIpError:
            continue
