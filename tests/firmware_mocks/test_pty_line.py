"""A firmware behind a pseudo-terminal, as a host sees it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
import serial

from qkd_hal_firmware_mocks.pty_line import PtyLine

if TYPE_CHECKING:
    from collections.abc import Callable


class Echo:
    """Gives back what it gets, and counts hosts."""

    def __init__(self) -> None:
        self.hosts = 0
        self.gone = threading.Event()

    def attach(self, send: Callable[[bytes], None]) -> None:
        self.hosts += 1
        self.send = send

    def feed(self, data: bytes) -> None:
        self.send(data)

    def hang_up(self) -> None:
        self.gone.set()


def test_every_byte_passes_both_ways_unchanged() -> None:
    every = bytes(range(256)) * 64
    with PtyLine(Echo()) as line, serial.Serial(line.path, timeout=5) as port:
        writer = threading.Thread(target=port.write, args=(every,))
        writer.start()
        assert port.read(len(every)) == every
        writer.join()


def test_a_host_that_leaves_hangs_up_and_may_come_again() -> None:
    echo = Echo()
    with PtyLine(echo) as line:
        for visit in (1, 2):
            with serial.Serial(line.path, timeout=5) as port:
                port.write(b"x")
                assert port.read(1) == b"x"
                assert echo.hosts == visit
            assert echo.gone.wait(5)
            echo.gone.clear()


def test_closing_is_an_unplugged_cable() -> None:
    line = PtyLine(Echo())
    with serial.Serial(line.path, timeout=5) as port:
        port.write(b"x")
        assert port.read(1) == b"x"
        line.close()
        line.close()
        with pytest.raises(serial.SerialException):
            port.read(1)


def test_a_host_that_does_not_read_costs_no_memory() -> None:
    echo = Echo()
    with PtyLine(echo) as line, serial.Serial(line.path, timeout=5) as port:
        port.write(b"x")
        assert port.read(1) == b"x"
        for _ in range(64):
            echo.send(bytes(1 << 16))
        assert len(line._unsent) <= 1 << 20
