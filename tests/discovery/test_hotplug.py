"""Devices that come, go and change are events, on the kernel's word or at the next look."""

from __future__ import annotations

import errno
import os
import signal
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest

from qkd_hal import hotplug
from qkd_hal.errors import UsageError
from qkd_hal.hotplug import Changed, Plugged, Unplugged, watch_devices
from qkd_hal_drivers.buses import sysfs, usb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_mock import MockerFixture

    from qkd_hal.hotplug import DeviceWatch
    from tests.discovery.conftest import Machine

BOX = ((0xFF, 0x51, 0x4B), "boxlink 1")
LONG = 60.0  # seconds: an event that comes at all came from the kernel


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Send here what the kernel would."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    theirs.setblocking(False)
    monkeypatch.setattr(hotplug, "_kernel_messages", lambda: theirs)
    with ours:
        yield ours


@pytest.fixture
def watch(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., DeviceWatch]]:
    """Watch *machine*; what a test leaves open is closed."""
    made: list[DeviceWatch] = []
    monkeypatch.setattr(
        hotplug, "discover", lambda **_: usb.recognised(sysfs.usb_devices(machine.root))
    )

    def start(interval: float = LONG) -> DeviceWatch:
        made.append(watch_devices(interval=interval))
        return made[-1]

    yield start
    for each in made:
        each.close()


def test_it_begins_with_what_is_there(machine: Machine, watch: Callable[..., DeviceWatch]) -> None:
    machine.usb((0x1234, 0x5678), BOX)
    event = next(watch())
    assert isinstance(event, Plugged)
    assert event.device.url == "usb://1234:5678/A-7"


def test_the_kernels_word_is_enough(
    machine: Machine, kernel: socket.socket, watch: Callable[..., DeviceWatch]
) -> None:
    machine.usb((0x1234, 0x5678), BOX)
    events = watch()
    first = next(events).device
    unplug(machine)
    kernel.send(b"remove@/devices/usb1/1-1\0ACTION=remove\0")
    assert next(events) == Unplugged(first)


def test_whatever_a_message_says_it_is_only_a_reason_to_look(
    machine: Machine, kernel: socket.socket, watch: Callable[..., DeviceWatch]
) -> None:
    events = watch()
    kernel.send(b"\xff" * 20_000)
    kernel.send(b"")
    threading.Timer(0.2, lambda: (machine.usb((0x1234, 0x5678), BOX), kernel.send(b"add"))).start()
    assert isinstance(next(events), Plugged)


def test_without_a_kernel_that_tells_it_looks_at_its_interval(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, watch: Callable[..., DeviceWatch]
) -> None:
    monkeypatch.setattr(hotplug, "_kernel_messages", lambda: None)
    events = watch(interval=0.05)
    threading.Timer(0.2, lambda: machine.usb((0x1234, 0x5678), BOX)).start()
    assert isinstance(next(events), Plugged)


@pytest.mark.parametrize("interval", [float("inf"), 1e12])
def test_an_interval_may_be_for_ever(
    interval: float, machine: Machine, kernel: socket.socket, watch: Callable[..., DeviceWatch]
) -> None:
    events = watch(interval)
    machine.usb((0x1234, 0x5678), BOX)
    next(events)
    unplug(machine)
    kernel.send(b"remove")
    assert isinstance(next(events), Unplugged)


def test_a_device_that_is_plugged_in_again_leaves_before_it_comes(
    machine: Machine, kernel: socket.socket, watch: Callable[..., DeviceWatch]
) -> None:
    machine.usb((0x1234, 0x5678), BOX)
    events = watch()
    before = next(events).device
    unplug(machine)
    machine.usb((0x1234, 0x5678), BOX)
    kernel.send(b"add")
    gone, there = next(events), next(events)
    assert gone == Unplugged(before)
    assert isinstance(there, Plugged)
    assert there.device.url == before.url


def test_a_device_that_becomes_busy_has_changed(
    machine: Machine, kernel: socket.socket, watch: Callable[..., DeviceWatch]
) -> None:
    directory = machine.usb((0x1234, 0x5678), BOX)
    events = watch()
    next(events)
    machine.claim(directory, 0, "usbfs")
    kernel.send(b"bind")
    event = next(events)
    assert isinstance(event, Changed)
    assert not event.device.usable


def test_one_plugging_in_of_many_messages_is_few_looks(
    machine: Machine,
    kernel: socket.socket,
    watch: Callable[..., DeviceWatch],
    mocker: MockerFixture,
) -> None:
    events = watch()
    look = mocker.spy(events, "_look")

    def plug_in_slowly() -> None:
        for _ in range(30):
            kernel.send(b"add")
            time.sleep(0.01)
        machine.usb((0x1234, 0x5678), BOX)
        kernel.send(b"bind")

    hub = threading.Thread(target=plug_in_slowly)
    hub.start()
    assert isinstance(next(events), Plugged)
    hub.join()
    assert look.call_count < 10


def test_a_flood_of_messages_does_not_keep_it_from_looking(
    machine: Machine, kernel: socket.socket, watch: Callable[..., DeviceWatch]
) -> None:
    events, stop = watch(), threading.Event()

    def flood() -> None:
        kernel.settimeout(0.1)
        while not stop.is_set():
            try:
                kernel.send(b"change")
            except (TimeoutError, BlockingIOError):
                continue

    sender = threading.Thread(target=flood)
    sender.start()
    threading.Timer(0.1, lambda: machine.usb((0x1234, 0x5678), BOX)).start()
    try:
        assert isinstance(next(events), Plugged)
    finally:
        stop.set()
        sender.join()


def test_close_from_another_thread_ends_the_iteration(
    kernel: socket.socket, watch: Callable[..., DeviceWatch]
) -> None:
    with watch() as events:
        threading.Timer(0.1, events.close).start()
        begin = time.monotonic()
        assert list(events) == []
        assert time.monotonic() - begin < LONG / 2
        events.close()
        assert list(events) == []


def test_close_from_a_signal_handler_of_the_thread_that_waits_ends_the_iteration(
    kernel: socket.socket, watch: Callable[..., DeviceWatch]
) -> None:
    events = watch()
    before = signal.signal(signal.SIGUSR1, lambda *_: events.close())
    try:
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        assert list(events) == []
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert events._doorbell._ear.fileno() == -1


def test_messages_that_the_kernel_had_to_drop_are_a_reason_to_look(mocker: MockerFixture) -> None:
    full = mocker.Mock(spec=socket.socket)
    full.recv.side_effect = [OSError(errno.ENOBUFS, ""), BlockingIOError()]
    hotplug._drop_messages(full)
    full.recv.side_effect = OSError(errno.EBADF, "")
    with pytest.raises(OSError, match="9"):
        hotplug._drop_messages(full)


@pytest.mark.timeout(10)
def test_a_kernel_that_never_stops_talking_is_left_talking(mocker: MockerFixture) -> None:
    talking = mocker.Mock(spec=socket.socket)
    talking.recv.return_value = b"change"
    hotplug._drop_messages(talking)
    assert talking.recv.call_count > 100


@pytest.mark.parametrize("interval", [0, -1, float("nan")])
def test_an_interval_is_above_zero(interval: float) -> None:
    with pytest.raises(UsageError, match="interval"):
        watch_devices(interval=interval)


def unplug(machine: Machine) -> None:
    (machine.root / "sys/devices/usb1/1-1").rename(machine.root / "gone")
    (machine.root / "sys/bus/usb/devices/1-1").unlink()
