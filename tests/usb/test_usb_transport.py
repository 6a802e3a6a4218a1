"""What the transport keeps between calls, on endpoints that a test plays."""

from __future__ import annotations

from typing import cast

import pytest

from qkd_hal.errors import DeadlineError
from qkd_hal.sources import Deadline
from qkd_hal_drivers.usb_box.endpoints import Endpoints
from qkd_hal_drivers.usb_box.frames import FrameCollector
from qkd_hal_drivers.usb_box.transport import UsbTransport

LONG, SHORT = 5.0, 0.05
PACKET = 512


class Wire:
    """Plays `Endpoints`: notes what is done, takes *room* bytes, and gives what is in *reads*."""

    packet = PACKET

    def __init__(self) -> None:
        self.done: list[str] = []
        self.room = 1 << 20
        self.reads: list[bytes] = []

    def read(self, timeout: int) -> memoryview | None:
        return memoryview(self.reads.pop(0)) if self.reads else None

    def write(self, data: memoryview, timeout: int) -> int | None:
        moved = min(self.room, len(data))
        self.room -= moved
        self.done.append(f"write {moved}")
        return moved or None

    def wait_for_bell(self, timeout: int) -> None:
        pass

    def reset(self) -> None:
        self.done.append("reset")


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def transport(wire: Wire) -> UsbTransport:
    transport = UsbTransport((1, 2), "S", "usb://0001:0002/S")
    transport._endpoints = cast("Endpoints", wire)
    transport._collector = FrameCollector(PACKET, 4096)
    return transport


def test_a_frame_that_was_cut_short_is_dropped_before_the_next(
    wire: Wire, transport: UsbTransport
) -> None:
    wire.room = 64
    with pytest.raises(DeadlineError, match="usb://"):
        transport.send(bytes(600), Deadline(SHORT))
    wire.room = 1000
    wire.done.clear()
    transport.send(bytes(20), Deadline(LONG))
    transport.send(bytes(20), Deadline(LONG))
    assert wire.done == ["reset", "write 20", "write 20"]


def test_a_reset_forgets_the_first_half_of_a_frame(wire: Wire, transport: UsbTransport) -> None:
    wire.reads = [bytes(PACKET)]
    assert transport.receive(Deadline(SHORT)) is None
    transport.reset(Deadline(LONG))
    wire.reads = [b"a frame"]
    assert transport.receive(Deadline(LONG)) == b"a frame"


def test_every_byte_that_came_counts_as_heard(wire: Wire, transport: UsbTransport) -> None:
    wire.reads = [bytes(PACKET), b"end"]
    assert transport.receive(Deadline(LONG))
    assert transport.heard == PACKET + 3
