"""The token as a USB device: CCID messages in packets, more time, aborts, notices, faults."""

from __future__ import annotations

import errno
import struct
import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
import usb.core
import usb.util
from hypothesis import given
from hypothesis import strategies as st

from qkd_hal_firmware_mocks.faults import FaultPlan
from qkd_hal_firmware_mocks.token.applet import ATR, KeyApplet
from qkd_hal_firmware_mocks.token.ccid import CcidToken
from qkd_hal_firmware_mocks.token.ccid_reader import CcidReader
from qkd_hal_firmware_mocks.token.faults import Fault, PowerCut
from qkd_hal_firmware_mocks.token.medium import MemoryMedium
from qkd_hal_firmware_mocks.token.mischief import FaultyCard
from qkd_hal_firmware_mocks.token.model import Model
from qkd_hal_firmware_mocks.usb.descriptors import parse
from qkd_hal_firmware_mocks.usb.function import Setup, Stall

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qkd_hal_firmware_mocks.usb.worlds import UsbWorld

OUT, IN, NOTICE = 0x01, 0x82, 0x83
PATIENT = 5000  # ms, for what must come; an emulated machine is slow
BRIEF = 100  # ms, for what must not come
MOST = 4096 + 9 + 10

POWER_ON, POWER_OFF, SLOT_STATUS, XFR, ABORT = 0x62, 0x63, 0x65, 0x6F, 0x72
SELECT = bytes.fromhex("00A40400 08 F0514B4448414C01 00")
GET_STATUS = bytes.fromhex("80020000 00")
FAILED, MORE_TIME = 0x40, 0x80


def message(kind: int, sequence: int, data: bytes = b"", slot: int = 0, level: int = 0) -> bytes:
    return struct.pack("<BIBBBH", kind, len(data), slot, sequence, 0, level) + data


class Reader:
    """What a driver does at least: one command, one answer, by number."""

    def __init__(self, device: Any) -> None:
        self.device = device
        self.sequence = 0

    def send(self, kind: int, data: bytes = b"", **fields: int) -> None:
        self.sequence = (self.sequence + 1) % 256
        self.device.write(OUT, message(kind, self.sequence, data, **fields), PATIENT)

    def read(self, timeout: int = PATIENT) -> bytes:
        return bytes(self.device.read(IN, MOST, timeout))

    def ask(self, kind: int, data: bytes = b"", **fields: int) -> tuple[int, int, bytes]:
        """Return status, error and data."""
        self.send(kind, data, **fields)
        answer = self.read()
        assert answer[6] == self.sequence
        assert struct.unpack_from("<I", answer, 1)[0] == len(answer) - 10
        return answer[7], answer[8], answer[10:]

    def transmit(self, apdu: bytes) -> bytes:
        status, error, data = self.ask(XFR, apdu)
        assert (status, error) == (0, 0)
        return data

    def notice(self) -> bytes:
        return bytes(self.device.read(NOTICE, 8, PATIENT))


@pytest.fixture
def plan() -> FaultPlan:
    return FaultPlan()


@pytest.fixture
def token(plan: FaultPlan) -> CcidToken:
    return CcidToken(KeyApplet(MemoryMedium()), plan)


@pytest.fixture
def reader(usb_world: UsbWorld, token: CcidToken) -> Iterator[Reader]:
    plugged = usb_world.plug(token)
    place = {"bus": plugged.bus, "address": plugged.address}
    device = usb.core.find(backend=usb_world.backend, **place)
    yield Reader(device)
    usb.util.dispose_resources(device)


@pytest.fixture
def powered(reader: Reader) -> Reader:
    assert reader.ask(POWER_ON) == (0, 0, ATR)
    return reader


def test_the_device_says_what_it_is(reader: Reader) -> None:
    device = reader.device
    assert usb.util.get_string(device, device.iProduct) == "QKD key token (mock token)"
    assert usb.util.get_string(device, device.iSerialNumber) == Model().serial_number
    interface = device.get_active_configuration()[(0, 0)]
    triple = interface.bInterfaceClass, interface.bInterfaceSubClass, interface.bInterfaceProtocol
    assert triple == (0x0B, 0, 0)
    assert sorted(end.bEndpointAddress for end in interface) == [OUT, IN, NOTICE]


def test_the_class_descriptor(token: CcidToken) -> None:
    (interface,) = parse(token.descriptors.configuration)
    found = struct.unpack("<BBHBBIIIBIIBIIIIIBBHBB", interface.extra)
    assert found[:6] == (54, 0x21, 0x0110, 0, 7, 2)
    assert found[15:17] == (0x000400BA, MOST)
    assert found[-2:] == (0, 1)


def test_a_card_without_power(reader: Reader) -> None:
    assert reader.ask(SLOT_STATUS) == (1, 0, b"")
    assert reader.ask(XFR, SELECT) == (FAILED | 1, 0xFE, b"")


def test_power_and_exchange(powered: Reader) -> None:
    assert powered.ask(SLOT_STATUS) == (0, 0, b"")
    assert powered.transmit(SELECT).endswith(b"\x90\x00")
    assert powered.ask(POWER_OFF) == (1, 0, b"")
    assert powered.ask(POWER_ON) == (0, 0, ATR)
    assert powered.transmit(GET_STATUS) == b"\x69\x99", "power ends the selection"


@pytest.mark.parametrize("size", [43, 44, 45, 54, 55, 108])
def test_messages_around_the_packet_size(powered: Reader, size: int) -> None:
    # 10 bytes of header and 7 of the command: 54 - 7 fills one packet, 118 - 7 two.
    powered.transmit(SELECT)
    body = bytes([size]) + bytes(size)
    assert powered.transmit(bytes.fromhex("80180000") + body + b"\0") == b"\x67\x00"


def test_an_answer_that_fills_its_last_packet_ends_with_an_empty_one(
    token: CcidToken, plan: FaultPlan
) -> None:
    plan.once(Fault.SLOW.value)
    token.receive(OUT, message(POWER_ON, 1))
    assert token.send(IN) == message(0x80, 1, ATR)
    assert token.send(IN) is None
    token.receive(OUT, message(XFR, 2, SELECT))
    for _ in range(3):
        assert token.send(IN) == struct.pack("<BIBBBBB", 0x80, 0, 0, 2, MORE_TIME, 1, 0)
    packets = iter(lambda: token.send(IN), None)
    lengths = [len(packet) for packet in packets]
    assert lengths[:-1] == [64] * (len(lengths) - 1)
    assert lengths[-1] < 64
    token._cut(bytes(128))
    assert [len(packet) for packet in iter(lambda: token.send(IN), None)] == [64, 64, 0]


def test_a_zero_length_packet_after_a_full_one_is_no_message(token: CcidToken) -> None:
    token.receive(OUT, message(POWER_ON, 1))
    token.send(IN)
    whole = message(XFR, 2, bytes.fromhex("80180000 2F") + bytes(47) + b"\0\0")
    assert len(whole) == 64
    token.receive(OUT, whole)
    token.receive(OUT, b"")
    answer = token.send(IN)
    assert answer is not None
    assert answer[6] == 2
    assert token.send(IN) is None


def test_the_longest_apdus(powered: Reader) -> None:
    powered.transmit(SELECT)
    longest = bytes.fromhex("80100000 00 1000") + bytes(4096) + b"\0\0"
    assert powered.transmit(longest) == b"\x6a\x80"


def test_a_length_beyond_the_limit_halts_until_cleared(powered: Reader) -> None:
    with pytest.raises(usb.core.USBError) as caught:
        powered.device.write(OUT, struct.pack("<BIBBBH", XFR, MOST - 9, 0, 9, 0, 0), PATIENT)
    assert caught.value.errno == errno.EPIPE
    powered.device.clear_halt(OUT)
    assert powered.ask(SLOT_STATUS) == (0, 0, b"")


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (message(0x6B, 9), 0),
        (message(SLOT_STATUS, 9) + b"\0", 1),
        (struct.pack("<BIBBBH", XFR, 20, 0, 9, 0, 0) + bytes(19), 1),
        (message(SLOT_STATUS, 9, slot=1), 5),
        (message(XFR, 9, SELECT, level=1), 8),
    ],
)
def test_wrong_headers(powered: Reader, raw: bytes, error: int) -> None:
    powered.device.write(OUT, raw, PATIENT)
    answer = powered.read()
    assert (answer[6], answer[7] & 0xC0, answer[8]) == (9, FAILED, error)
    assert powered.ask(SLOT_STATUS) == (0, 0, b"")


def test_less_than_a_header_is_dropped(powered: Reader) -> None:
    powered.device.write(OUT, b"\x65\0\0", PATIENT)
    assert powered.ask(SLOT_STATUS) == (0, 0, b"")


def test_notices(reader: Reader, token: CcidToken) -> None:
    assert reader.notice() == b"\x50\x03"
    token.remove_card()
    assert reader.notice() == b"\x50\x02"
    assert reader.ask(SLOT_STATUS) == (2, 0, b"")
    assert reader.ask(POWER_ON) == (FAILED | 2, 0xFE, b"")
    token.insert_card()
    assert reader.notice() == b"\x50\x03"
    assert reader.ask(POWER_ON) == (0, 0, ATR)


def abort(device: Any, sequence: int) -> None:
    device.ctrl_transfer(0x21, 0x01, sequence << 8, 0, None, PATIENT)


def test_more_time_without_end_until_aborted(powered: Reader, plan: FaultPlan) -> None:
    plan.once(Fault.TIME_STORM.value)
    powered.send(XFR, SELECT)
    answers = [powered.read() for _ in range(20)]
    assert {(answer[6], answer[7], answer[8]) for answer in answers} == {(2, MORE_TIME, 1)}
    abort(powered.device, 7)
    with pytest.raises(usb.core.USBTimeoutError):
        powered.read(BRIEF)
    assert powered.ask(SLOT_STATUS) == (FAILED, 0xFF, b""), "it waits for the message"
    powered.device.write(OUT, message(ABORT, 7), PATIENT)
    assert powered.read()[5:9] == bytes([0, 7, 0, 0])
    assert powered.transmit(SELECT).endswith(b"\x90\x00")


def test_another_command_ends_the_storm(powered: Reader, plan: FaultPlan) -> None:
    plan.once(Fault.TIME_STORM.value)
    powered.send(XFR, SELECT)
    powered.read()
    powered.send(SLOT_STATUS)
    while powered.read()[6] != powered.sequence:
        pass  # what was on its way
    with pytest.raises(usb.core.USBTimeoutError):
        powered.read(BRIEF)


def test_an_abort_in_the_middle_of_an_answer(token: CcidToken) -> None:
    token.receive(OUT, message(POWER_ON, 1))
    token.send(IN)
    token.receive(OUT, message(XFR, 2, SELECT))
    first = token.send(IN)
    assert first is not None
    assert len(first) == 64
    token.control(Setup(0x21, 0x01, 2 << 8, 0, 0), b"")
    assert token.send(IN) is None


def test_an_abort_whose_message_comes_first(powered: Reader, plan: FaultPlan) -> None:
    plan.once(Fault.DROP.value)
    powered.send(XFR, SELECT)
    with pytest.raises(usb.core.USBTimeoutError):
        powered.read(BRIEF)
    powered.device.write(OUT, message(ABORT, 9), PATIENT)
    with pytest.raises(usb.core.USBTimeoutError):
        powered.read(BRIEF)
    abort(powered.device, 9)
    assert powered.read()[6] == 9
    assert powered.transmit(SELECT).endswith(b"\x90\x00")


def test_unknown_control_requests_stall(reader: Reader) -> None:
    with pytest.raises(usb.core.USBError) as caught:
        reader.device.ctrl_transfer(0xA1, 0x02, 0, 0, 16, PATIENT)
    assert caught.value.errno == errno.EPIPE


def test_slow(powered: Reader, plan: FaultPlan) -> None:
    plan.once(Fault.SLOW.value)
    powered.send(XFR, SELECT)
    assert [powered.read()[7] for _ in range(3)] == [MORE_TIME] * 3
    assert powered.read().endswith(b"\x90\x00")


def test_drop_does_the_command_and_stall_does_not(powered: Reader, plan: FaultPlan) -> None:
    for fault, selected in ((Fault.STALL, False), (Fault.DROP, True)):
        plan.once(fault.value)
        powered.send(XFR, SELECT)
        with pytest.raises(usb.core.USBTimeoutError):
            powered.read(BRIEF)
        assert (powered.transmit(GET_STATUS) != b"\x69\x99") is selected


def test_duplicate(powered: Reader, plan: FaultPlan) -> None:
    plan.once(Fault.DUPLICATE.value)
    powered.send(XFR, SELECT)
    assert powered.read() == powered.read()


def test_a_brown_out_waits_for_a_confirm() -> None:
    plan = FaultPlan()
    plan.begin("brown-out")
    card = FaultyCard(KeyApplet(MemoryMedium()), plan)
    for _ in range(20):
        assert card.transmit(SELECT).endswith(b"\x90\x00")
    confirm = bytes.fromhex("801C0100")
    with pytest.raises(PowerCut):
        deque((card.transmit(confirm) for _ in range(20)), maxlen=0)


def test_late(powered: Reader, plan: FaultPlan) -> None:
    plan.once(Fault.LATE.value)
    powered.send(XFR, SELECT)
    late = powered.sequence
    powered.send(SLOT_STATUS)
    assert [powered.read()[6], powered.read()[6]] == [late, powered.sequence]


@pytest.mark.parametrize(
    ("fault", "place", "value"),
    [
        (Fault.WRONG_SEQUENCE, slice(6, 7), bytes([2 ^ 1])),
        (Fault.WRONG_TYPE, slice(0, 1), b"\x83"),
        (Fault.HUGE_LENGTH, slice(1, 5), b"\xff\xff\xff\xff"),
        (Fault.HARDWARE_ERROR, slice(7, 9), b"\x40\xfb"),
        (Fault.CARD_GONE, slice(7, 9), b"\x41\xfe"),
    ],
)
def test_a_lie_in_the_header(
    powered: Reader, plan: FaultPlan, fault: Fault, place: slice, value: bytes
) -> None:
    plan.once(fault.value)
    powered.send(XFR, SELECT)
    assert powered.read()[place] == value


def test_a_length_that_is_one_too_many(powered: Reader, plan: FaultPlan) -> None:
    plan.once(Fault.LIE.value)
    powered.send(XFR, SELECT)
    answer = powered.read()
    assert struct.unpack_from("<I", answer, 1)[0] == len(answer) - 10 + 1


def test_a_card_that_was_pulled_out_and_put_back(powered: Reader, plan: FaultPlan) -> None:
    powered.notice()
    plan.once(Fault.CARD_GONE.value)
    powered.ask(XFR, SELECT)
    assert [powered.notice(), powered.notice()] == [b"\x50\x02", b"\x50\x03"]
    assert powered.ask(POWER_ON) == (0, 0, ATR)


def test_a_halt_that_passes(powered: Reader, plan: FaultPlan) -> None:
    plan.once(Fault.HALT.value)
    powered.send(XFR, SELECT)
    with pytest.raises(usb.core.USBError) as caught:
        powered.read()
    assert caught.value.errno == errno.EPIPE
    powered.device.clear_halt(IN)
    assert powered.ask(SLOT_STATUS) == (0, 0, b"")


def test_a_brown_out_unplugs(usb_world: UsbWorld, token: CcidToken, plan: FaultPlan) -> None:
    plugged = usb_world.plug(token)
    place = {"bus": plugged.bus, "address": plugged.address}
    device = usb.core.find(backend=usb_world.backend, **place)
    reader = Reader(device)
    reader.ask(POWER_ON)
    unplugging = threading.Thread(target=usb_world.unplug, args=(plugged,))
    token.power_cut = unplugging.start  # the bus waits until the device has let go of it
    plan.once("cut-after@SELECT")
    with pytest.raises(usb.core.USBError) as caught:
        reader.transmit(SELECT)
    unplugging.join()
    assert caught.value.errno in (errno.ENODEV, errno.EPROTO, errno.EIO)
    usb.util.dispose_resources(device)


def test_a_power_cut_that_nobody_hears_is_silence(powered: Reader, plan: FaultPlan) -> None:
    plan.once(Fault.CUT_BEFORE.value)
    powered.send(XFR, SELECT)
    with pytest.raises(usb.core.USBTimeoutError):
        powered.read(BRIEF)
    assert powered.ask(SLOT_STATUS) == (1, 0, b"")


@pytest.mark.parametrize(
    ("fault", "answer"),
    [
        (Fault.NO_DATA, b"\x90\x00"),
        (Fault.NO_STATUS, b"\x90"),
        (Fault.FALSE_SUCCESS, b"\x90\x00"),
        (Fault.FALSE_NEEDS_PIN, b"\x69\x82"),
        (Fault.WRONG_PIN, b"\x63\xc2"),
        (Fault.BLOCKED, b"\x69\x83"),
        (Fault.NONE_LEFT, b"\x6a\x83"),
        (Fault.STORE_FULL, b"\x6a\x84"),
        (Fault.MEDIUM_FAILED, b"\x65\x81"),
        (Fault.UNKNOWN_STATUS, b"\x6f\xed"),
        (Fault.ENDLESS, b"\x61\x01"),
        (Fault.RESET, b"\x69\x99"),
    ],
)
def test_an_applet_that_lies(powered: Reader, plan: FaultPlan, fault: Fault, answer: bytes) -> None:
    powered.transmit(SELECT)
    plan.once(f"{fault.value}@STATUS")
    assert powered.transmit(GET_STATUS) == answer


def test_answers_of_wrong_length(powered: Reader, plan: FaultPlan) -> None:
    powered.transmit(SELECT)
    right = powered.transmit(GET_STATUS)
    plan.once(Fault.SHORT_DATA.value)
    assert powered.transmit(GET_STATUS) == right[:-3] + right[-2:]
    plan.once(Fault.LONG_DATA.value)
    assert powered.transmit(GET_STATUS) == right[:-2] + b"\0" + right[-2:]


def test_an_answer_that_never_ends(powered: Reader, plan: FaultPlan) -> None:
    plan.once(Fault.ENDLESS.value)
    powered.transmit(SELECT)
    get_response = bytes.fromhex("00C00000 00")
    assert {powered.transmit(get_response) for _ in range(50)} == {b"\x61\x01"}
    assert powered.transmit(SELECT).endswith(b"\x90\x00")


@pytest.mark.parametrize(
    ("fault", "done"),
    [
        (Fault.FALSE_SUCCESS, False),
        (Fault.CUT_BEFORE, False),
        (Fault.NO_DATA, True),
        (Fault.CUT_AFTER, True),
        (Fault.UNKNOWN_STATUS, True),
    ],
)
def test_what_is_done_and_what_is_not(fault: Fault, done: bool) -> None:
    pin, puk = b"123456".ljust(16, b"\xff"), b"98765432".ljust(16, b"\xff")
    data = b"\x80\x10" + pin + b"\x81\x10" + puk + b"\x82\x05alice\x83\x03bob"
    medium = MemoryMedium()
    card = FaultyCard(KeyApplet(medium), FaultPlan.script([f"{fault.value}@INITIALISE"]))
    card.transmit(SELECT)
    with suppress(PowerCut):
        card.transmit(bytes.fromhex("80100000") + bytes([len(data)]) + data)
    assert (medium.saved.site == "alice") is done


@given(st.lists(st.binary(max_size=64), max_size=30))
def test_no_packets_break_the_device(packets: list[bytes]) -> None:
    token = CcidToken(KeyApplet(MemoryMedium()))
    for packet in packets:
        with suppress(Stall):
            token.receive(OUT, packet)
        while (answer := token.send(IN)) is not None:
            assert len(answer) <= 64
    assert len(token._incoming) <= MOST


@given(st.binary(min_size=10, max_size=60))
def test_every_message_has_one_answer(raw: bytes) -> None:
    reader = CcidReader(KeyApplet(MemoryMedium()))
    reader.handle(raw)
    answer = reader.next_answer()
    if raw[0] != ABORT or struct.unpack_from("<I", raw, 1)[0] != len(raw) - 10 or raw[5]:
        assert answer is not None
        assert answer[6] == raw[6]
    assert reader.next_answer() is None
