"""Transfers cut into packets, without a bus around."""

from __future__ import annotations

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from qkd_hal_firmware_mocks.usb.device_controller import DeviceController, Transfer
from qkd_hal_firmware_mocks.usb.loop_back import LoopBack

OUT, IN = 0x01, 0x81
PACKET = 512


def controller(firmware: LoopBack) -> DeviceController:
    return DeviceController(firmware, lambda: None)


def test_a_read_that_waits_ends_in_the_poll_that_gives_it_data() -> None:
    plugged = controller(LoopBack())
    waiting, giving = Transfer(IN, PACKET), Transfer(OUT, data=b"x")
    plugged.submit(waiting)
    assert plugged.poll() == []
    plugged.submit(giving)
    assert plugged.poll() == [giving, waiting]
    assert (waiting.status, bytes(waiting.received)) == (0, b"x")


def test_transfers_of_an_endpoint_end_in_their_order() -> None:
    plugged = controller(LoopBack())
    reads = [Transfer(IN, PACKET) for _ in range(3)]
    for read in reads:
        plugged.submit(read)
    plugged.cancel(reads[1])
    for message in (b"a", b"b"):
        plugged.submit(Transfer(OUT, data=message))
    plugged.poll()
    assert [bytes(read.received) for read in reads] == [b"a", b"", b"b"]


@given(
    st.lists(st.binary(max_size=3 * PACKET), max_size=5),
    st.lists(st.integers(1, 4).map(lambda count: count * PACKET), min_size=1, max_size=4),
)
def test_any_messages_come_back_whole_through_reads_of_any_size(
    messages: list[bytes], sizes: list[int]
) -> None:
    plugged = controller(LoopBack())
    for message in messages:
        plugged.submit(Transfer(OUT, data=message, zero_packet=True))
    plugged.poll()
    turns, part = deque(sizes), b""
    got: list[bytes] = []
    while len(got) < len(messages):
        read = Transfer(IN, turns[0])
        turns.rotate()
        plugged.submit(read)
        assert plugged.poll() == [read]
        part += read.received
        if len(read.received) < read.size:  # a short packet ended it
            got.append(part)
            part = b""
    assert got == messages
