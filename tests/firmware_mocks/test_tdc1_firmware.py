"""The unit's command interpreter, without a line."""

from __future__ import annotations

import queue
import struct
from itertools import islice
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkd_hal_firmware_mocks.tdc1.clicks import steady_clicks
from qkd_hal_firmware_mocks.tdc1.firmware import COUNTER_TICKS, DUMMY, Tdc1Firmware

if TYPE_CHECKING:
    from collections.abc import Iterator


class Host:
    """Attached to a firmware of its own, with few clicks that never change."""

    def __init__(self, *clicks: tuple[int, int], counter: int = 0) -> None:
        self.sent: queue.Queue[bytes] = queue.Queue()
        self.firmware = Tdc1Firmware(lambda: iter(clicks), counter=counter)
        self.firmware.attach(self.sent.put)

    def ask(self, text: str) -> str:
        self.firmware.feed(text.encode())
        return self.sent.get(timeout=5).decode()

    def words(self, count: int) -> list[tuple[int, int]]:
        raw = b""
        while len(raw) < 4 * count:
            raw += self.sent.get(timeout=5)
        values = struct.unpack(f"<{len(raw) // 4}I", raw)
        return [(value >> 5, value & 31) for value in values]


@pytest.fixture
def host() -> Iterator[Host]:
    host = Host((3, 1), (9, 6))
    yield host
    host.firmware.hang_up()


def test_commands_end_with_any_of_three_and_know_no_case(host: Host) -> None:
    host.firmware.feed(b"TIMESTAMP;pairs\r")
    assert host.ask("Mode?\n") == "1\r\n"
    assert host.ask(" *idn? ;").startswith("TDC1")


def test_times_above_32767_ms_have_a_sign(host: Host) -> None:
    assert host.ask("time 65535;time?;") == "-1\r\n"
    assert host.ask("time 32767;time?;") == "32767\r\n"


def test_reset_restores_the_defaults(host: Host) -> None:
    host.firmware.feed(b"timestamp;time 5;ttl;refclk 2;")
    assert host.ask("*rst;mode?;") == "0\r\n"
    assert host.ask("time?;") == "1000\r\n"
    assert host.ask("level?;") == "-0.500 V\r\n"
    assert host.ask("refclk?;") == "0\r\n"


@given(st.lists(st.binary(max_size=300)))
def test_no_input_breaks_it(chunks: list[bytes]) -> None:
    host = Host((3, 1))
    for chunk in chunks:
        host.firmware.feed(chunk)
    host.firmware.hang_up()
    host.sent.queue.clear()
    assert host.ask("\r\n*idn?;").startswith("TDC1")


def test_a_line_without_end_costs_no_memory(host: Host) -> None:
    host.firmware.feed(b"x" * 1000)
    assert len(host.firmware._line) == 256


def test_the_stream_rolls_over_and_has_dummies() -> None:
    host = Host((3, 1), (9, 6), counter=COUNTER_TICKS - 5)
    host.firmware.feed(b"timestamp;time 300;counts?;")
    half = COUNTER_TICKS // 2
    expected = [(COUNTER_TICKS - 2, 1), (4, 6), (half - 5, DUMMY), (2 * half - 5, DUMMY)]
    assert host.words(4) == expected
    host.firmware.hang_up()


def test_abort_ends_a_count_before_its_time(host: Host) -> None:
    host.firmware.feed(b"time 60000;counts?;abort;")
    assert host.ask("time 20;pairs;counts?;") == "1 1 1 0 0 0 1 0\r\n"


def test_clicks_of_one_grid_point_share_a_word() -> None:
    grid = [tick for tick, _ in islice(steady_clicks([9e4, 9e4], seed=1, grid_hz=100_000), 500)]
    assert all(tick % 5000 == 0 for tick in grid)
    assert len(set(grid)) == 500
    patterns = {p for _, p in islice(steady_clicks([9e4, 9e4], seed=1, grid_hz=100_000), 500)}
    assert patterns == {1, 2, 3}
