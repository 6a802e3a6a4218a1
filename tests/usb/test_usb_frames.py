"""Where frames end among the reads of a bulk endpoint."""

from __future__ import annotations

import zlib

from hypothesis import given
from hypothesis import strategies as st

from qkd_hal_drivers.usb_box.frames import FrameCollector

PACKET = 64
LONGEST = 10 * PACKET


def frame_of(body: bytes) -> bytes:
    return body + zlib.crc32(body).to_bytes(4, "big")


def packets(frame: bytes) -> list[bytes]:
    """What the device sends: a short or empty packet last."""
    return [frame[start : start + PACKET] for start in range(0, len(frame) + 1, PACKET)]


def collected(collector: FrameCollector, reads: list[bytes]) -> list[bytes]:
    found = (collector.add(memoryview(read)) for read in reads)
    return [frame for frame in found if frame is not None]


bodies = st.one_of(
    st.binary(max_size=LONGEST - 4),
    st.integers(1, 10).map(lambda count: bytes(count * PACKET - 4)),
)


@given(st.lists(bodies.filter(len), max_size=6), st.data())
def test_frames_come_out_as_they_went_in_however_reads_end(
    sent: list[bytes], data: st.DataObject
) -> None:
    """A read may end after any packet: with the frame, or because its time was up."""
    collector = FrameCollector(PACKET, LONGEST)
    frames = [frame_of(body) for body in sent]
    for frame in frames:
        reads: list[bytes] = []
        for packet in packets(frame):
            joined = bool(reads and reads[-1]) and len(reads[-1]) % PACKET == 0
            if joined and data.draw(st.booleans()):
                reads[-1] += packet
            else:
                reads.append(packet)
        assert collected(collector, reads) == [frame]


def test_a_frame_that_is_too_long_is_dropped_up_to_its_last_packet() -> None:
    collector = FrameCollector(PACKET, LONGEST)
    good = frame_of(b"good")
    long = bytes(LONGEST + PACKET + 1)
    assert collected(collector, [*packets(long), good]) == [good]


def test_an_empty_packet_is_no_frame() -> None:
    assert collected(FrameCollector(PACKET, LONGEST), [b"", b""]) == []


def test_a_forgotten_half_does_not_spoil_the_next_frame() -> None:
    collector = FrameCollector(PACKET, LONGEST)
    assert collected(collector, [bytes(PACKET)]) == []
    collector.clear()
    good = frame_of(b"good")
    assert collected(collector, [good]) == [good]
