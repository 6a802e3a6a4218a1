"""Frames over a line that dribbles, floods or pauses."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest

from qkd_hal.errors import DeviceLostError
from qkd_hal.sources import Deadline
from qkd_hal_drivers.boxlink.frame import for_stream
from qkd_hal_drivers.serial_box.fd_line import FdLine
from qkd_hal_drivers.serial_box.stream import StreamTransport

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_mock import MockerFixture

    from qkd_hal_drivers.serial_box.fd_line import Opened


class SocketLine(FdLine):
    """One end of a socket pair; the other is ``far``."""

    what_to_check = "the test"

    def __init__(self) -> None:
        super().__init__()
        self._near, self.far = socket.socketpair()

    def _obtain(self, deadline: Deadline) -> Opened:
        return self._near


@pytest.fixture
def line() -> Iterator[SocketLine]:
    line = SocketLine()
    yield line
    line.far.close()
    line.close()


@pytest.fixture
def transport(line: SocketLine) -> StreamTransport:
    transport = StreamTransport(line)
    transport.open(Deadline(1))
    return transport


def test_frames_go_out_stuffed_and_come_in_bare(
    line: SocketLine, transport: StreamTransport
) -> None:
    transport.send(b"a\0b", Deadline(1))
    assert line.far.recv(100) == b"\0\2a\2b\0"
    line.far.sendall(for_stream(b"one") + for_stream(b"two") + b"\0\4thr")
    assert transport.receive(Deadline(1)) == b"one"
    assert transport.receive(Deadline(0)) == b"two"
    assert transport.receive(Deadline(0.01)) is None
    line.far.sendall(b"\0")
    assert transport.receive(Deadline(1)) == b"thr"
    assert transport.heard == 6 + 6 + 5 + 1


def test_a_reset_ends_what_either_side_has_half_read(
    line: SocketLine, transport: StreamTransport
) -> None:
    line.far.sendall(for_stream(b"one") + for_stream(b"two") + b"\0\7half")
    assert transport.receive(Deadline(1)) == b"one"
    transport.reset(Deadline(1))
    assert line.far.recv(10) == b"\0"
    line.far.sendall(b"\4new\0")
    assert transport.receive(Deadline(1)) == b"new"


def test_a_frame_may_dribble_in(line: SocketLine, transport: StreamTransport) -> None:
    def dribble() -> None:
        for byte in for_stream(b"slow"):
            line.far.sendall(bytes([byte]))
            time.sleep(0.002)

    sender = threading.Thread(target=dribble)
    sender.start()
    assert transport.receive(Deadline(5)) == b"slow"
    sender.join()


def test_an_unfinished_frame_is_given_up_after_a_pause(
    line: SocketLine, transport: StreamTransport, mocker: MockerFixture
) -> None:
    clock = mocker.patch("qkd_hal_drivers.serial_box.stream.monotonic", return_value=100.0)
    for pause, expected in ((0.4, [b"12"]), (0.6, [b"3"])):
        line.far.sendall(b"\3" + b"1")
        assert transport.receive(Deadline(0.01)) is None
        clock.return_value += pause
        line.far.sendall(b"2\0" if pause < 0.5 else b"\0023\0")
        assert [transport.receive(Deadline(0.2))] == expected


@pytest.mark.parametrize("noise", [b"\1" * 4096, b"\xff\0" * 2048, b"\0" * 4096])
def test_a_flood_of_noise_ends_at_the_deadline(
    line: SocketLine, transport: StreamTransport, noise: bytes
) -> None:
    stop = threading.Event()

    def flood() -> None:
        line.far.settimeout(0.05)
        while not stop.is_set():
            try:
                line.far.send(noise)
            except TimeoutError:
                continue

    sender = threading.Thread(target=flood)
    sender.start()
    begin = time.monotonic()
    frame = transport.receive(Deadline(0.2))
    took = time.monotonic() - begin
    stop.set()
    sender.join()
    assert frame is None
    assert 0.2 <= took < 1
    assert "bytes came and no answer among them: check the test" in transport.why_silent()


def test_silence_ends_at_the_deadline(transport: StreamTransport) -> None:
    begin = time.monotonic()
    assert transport.receive(Deadline(0.05)) is None
    assert 0.05 <= time.monotonic() - begin < 1
    assert "the box is on" in transport.why_silent()


def test_a_line_that_ends_is_a_loss(line: SocketLine, transport: StreamTransport) -> None:
    line.far.close()
    with pytest.raises(DeviceLostError, match="hung up"):
        transport.receive(Deadline(1))
    with pytest.raises(DeviceLostError, match="broke"):
        transport.send(b"x", Deadline(1))
