"""The driver on a pseudo-terminal, with the unit's mock and its faults at the other end."""

from __future__ import annotations

import os
import queue
import threading
from itertools import islice, pairwise
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest

from qkd_hal import open_detection_source
from qkd_hal.errors import (
    DeadlineError,
    DeviceBusyError,
    DeviceError,
    DeviceLostError,
    DeviceNotFoundError,
    DevicePermissionError,
    ProtocolError,
    StateError,
)
from qkd_hal.keys import Origin
from qkd_hal.sources import Deadline
from qkd_hal_drivers.tdc1 import Tdc1Settings, Tdc1Source
from qkd_hal_firmware_mocks.pty_line import PtyLine
from qkd_hal_firmware_mocks.tdc1 import firmware as firmware_module
from qkd_hal_firmware_mocks.tdc1.clicks import steady_clicks
from qkd_hal_firmware_mocks.tdc1.firmware import COUNTER_TICKS, Tdc1Firmware

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from qkd_hal.sources import DetectionBatch

GRID_HZ = 100_000
RATES = (4000.0, 3000.0, 2000.0, 1000.0)


def _clicks() -> Iterator[tuple[int, int]]:
    return steady_clicks(RATES, seed=5, grid_hz=GRID_HZ)


class Swallow:
    """Lets the stream pass, but for *count* bytes once *after* have gone by."""

    def __init__(self, after: int, count: int) -> None:
        self._after, self._count = after, count

    def __call__(self, data: bytes) -> bytes:
        passed = min(self._after, len(data))
        gone = min(self._count, len(data) - passed)
        self._after -= passed
        self._count -= gone
        return data[:passed] + data[passed + gone :]


def _open(line: PtyLine, **changes: object) -> Tdc1Source:
    settings = Tdc1Settings(line.path, GRID_HZ, **changes)  # type: ignore[arg-type]
    return Tdc1Source(settings, Deadline(5))


def _until(batches: Iterator[DetectionBatch], pulses: int) -> list[DetectionBatch]:
    taken: list[DetectionBatch] = []
    while not taken or taken[-1].end_pulse - taken[0].first_pulse < pulses:
        taken.append(next(batches))
    return taken


def _true_detections(count: int) -> dict[int, int]:
    """Pulse → pattern of the first *count* pulses with light, numbered as the driver does."""
    found = list(islice(_clicks(), count))
    per_pulse = 500_000_000 // GRID_HZ
    return {tick // per_pulse - found[0][0] // per_pulse: pattern for tick, pattern in found}


def test_the_clicks_arrive_each_in_its_pulse_over_a_roll_over() -> None:
    firmware = Tdc1Firmware(_clicks, counter=COUNTER_TICKS - 50_000_000)
    with PtyLine(firmware) as line, _open(line) as source:
        taken = _until(source.batches(Deadline(20)), 40_000)
    pulses = np.concatenate([batch.pulses for batch in taken])
    outcomes = np.concatenate([2 * batch.bases + batch.bits for batch in taken])
    true = _true_detections(len(pulses))
    assert (np.diff(pulses) > 0).all()
    assert pulses.tolist() == sorted(true)
    single = [(int(p), int(o)) for p, o in zip(pulses, outcomes, strict=True) if true[p] in BITS]
    assert len(single) > 1000
    assert all(true[pulse] == 1 << outcome for pulse, outcome in single)
    for before, after in pairwise(taken):
        assert before.end_pulse == after.first_pulse


BITS = {1, 2, 4, 8}


def test_its_settings_reach_the_unit() -> None:
    firmware = Tdc1Firmware(_clicks)
    with PtyLine(firmware) as line, _open(line, level="NEG -0.200", clock=1):
        assert (firmware._level, firmware._reference) == (-0.2, 1)


def test_a_unit_that_takes_no_time_stamps_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(firmware_module, "_MODES", {})
    told = pytest.raises(ProtocolError, match="does not take time stamps")
    with PtyLine(Tdc1Firmware(_clicks)) as line, told:
        _open(line)


class Overheard:
    """A firmware, and what its host has told it."""

    def __init__(self, firmware: Tdc1Firmware) -> None:
        self._firmware = firmware
        self._heard: queue.Queue[bytes] = queue.Queue()
        self.attach, self.hang_up = firmware.attach, firmware.hang_up

    def feed(self, data: bytes) -> None:
        self._heard.put(data)
        self._firmware.feed(data)

    def hears(self, end: bytes) -> bool:
        said = b""
        while not said.endswith(end):
            said += self._heard.get(timeout=5)
        return True


@pytest.mark.parametrize("leave", ["the iterator", "the unit"])
def test_whoever_stops_reading_stops_the_unit(leave: str) -> None:
    unit = Overheard(Tdc1Firmware(_clicks))
    with PtyLine(unit) as line, _open(line) as source:
        batches = cast("Generator[DetectionBatch]", source.batches(Deadline(20)))
        next(batches)
        assert unit.hears(b"counts?\r\n")
        (batches if leave == "the iterator" else source).close()
        assert unit.hears(b"abort\r\n")


def test_the_unit_says_who_it_is_and_a_mock_that_it_is_one() -> None:
    with PtyLine(Tdc1Firmware(_clicks)) as line, _open(line) as source:
        assert source.identity == "TDC1 simulated time-stamp unit, S/N MOCK0001"
        assert source.provenance.origin is Origin.SIMULATED
    with PtyLine(Tdc1Firmware(_clicks, identity="TDC1 S/N 7")) as line, _open(line) as source:
        assert source.provenance.origin is Origin.HARDWARE


@pytest.mark.parametrize(
    ("tamper", "words"),
    [
        (Swallow(4 * 4000 + 1, 1), "runs ahead|stands still"),
        (Swallow(4000, 1 << 30), "stands still"),
    ],
    ids=["a byte is lost", "the stream stops"],
)
def test_a_damaged_stream_is_not_trusted(tamper: Callable[[bytes], bytes], words: str) -> None:
    with PtyLine(Tdc1Firmware(_clicks, tamper=tamper)) as line, _open(line) as source:
        batches = source.batches(Deadline(20))
        with pytest.raises(ProtocolError, match=words) as caught:
            _until(batches, 1 << 40)
    assert caught.value.device == f"tdc1://{line.path}"


def test_numbers_never_come_twice_also_in_a_second_acquisition() -> None:
    with PtyLine(Tdc1Firmware(_clicks)) as line, _open(line) as source:
        first = _until(source.batches(Deadline(20)), 2000)
        again = _until(source.batches(Deadline(20)), 2000)
    assert again[0].first_pulse == first[-1].end_pulse


def test_two_iterators_at_once_are_refused() -> None:
    with PtyLine(Tdc1Firmware(_clicks)) as line, _open(line) as source:
        running = source.batches(Deadline(20))
        next(running)
        with pytest.raises(StateError, match="acquiring already"):
            next(source.batches(Deadline(20)))
        next(running)


def test_close_from_another_thread_ends_the_iterator() -> None:
    with PtyLine(Tdc1Firmware(_clicks)) as line, _open(line) as source:
        batches = source.batches(Deadline(None))
        next(batches)
        closing = threading.Timer(0.1, source.close)
        closing.start()
        assert list(batches)
        closing.join()
        source.close()


def test_the_deadline_ends_it_too() -> None:
    with PtyLine(Tdc1Firmware(_clicks)) as line, _open(line) as source:
        batches = source.batches(Deadline(0.2))
        with pytest.raises(DeadlineError, match="time stamps are taken"):
            list(batches)


def test_unplugging_is_a_loss() -> None:
    with PtyLine(Tdc1Firmware(_clicks)) as line, _open(line) as source:
        batches = source.batches(Deadline(20))
        next(batches)
        line.close()
        with pytest.raises(DeviceLostError, match=r"went away.*Plug it in"):
            list(batches)


def test_a_stream_that_an_earlier_user_left_is_stopped() -> None:
    firmware = Tdc1Firmware(_clicks)
    with PtyLine(firmware) as line, _open(line) as source:
        next(source.batches(Deadline(20)))
        source._port._serial.write(b"INPKT;time 0;timestamp;counts?\r\n")
        source._port._closed.set()  # it forgets to stop the unit
        source._port._serial.close()
        with _open(line) as later:
            assert "TDC1" in later.identity


def test_something_else_on_the_port_is_told_apart() -> None:
    firmware = Tdc1Firmware(_clicks, identity="Power meter\x1b[31m")
    refusals = []
    with PtyLine(firmware) as line:
        for _ in range(2):  # the port was given back, although the error is kept
            with pytest.raises(DeviceNotFoundError, match=r"'Power meter\?\[31m'") as caught:
                _open(line)
            refusals.append(caught)
    assert len(refusals) == 2


class Mute:
    """A device that takes everything and says nothing."""

    def attach(self, send: object) -> None: ...

    def feed(self, data: bytes) -> None: ...

    def hang_up(self) -> None: ...


def test_a_mute_port_is_given_up_at_the_deadline() -> None:
    with PtyLine(Mute()) as line, pytest.raises(DeviceNotFoundError, match="nobody answers"):
        Tdc1Source(Tdc1Settings(line.path, GRID_HZ), Deadline(0.2))


def test_a_port_in_use_is_busy() -> None:
    told = pytest.raises(DeviceBusyError, match=r"in use.*other process")
    with PtyLine(Tdc1Firmware(_clicks)) as line, _open(line), told:
        _open(line)


def test_a_port_that_is_none_is_told_by_its_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DeviceNotFoundError, match="no such port"):
        open_detection_source("tdc1:///dev/ttyACM999?rate_hz=1")
    with pytest.raises(DeviceError, match="no serial port"):
        open_detection_source("tdc1:///dev/null?rate_hz=1")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)  # root may open everything
    with pytest.raises(DevicePermissionError, match="udev install"):
        open_detection_source("tdc1:///dev/ttyACM0?rate_hz=1")
