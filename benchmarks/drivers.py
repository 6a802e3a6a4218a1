"""What the HAL and its drivers cost over a bare loop that moves the same bytes.

A serial box runs in a process of its own on a pseudo-terminal, a USB box on a bus in this
process. The peer (`_bare_host`) does the same exchange with the same box: reserve, agree, which
brings a small key along, fetch a large one, confirm, each frame sealed, since the box takes no
other. Rounds alternate; a ratio is the quotient of the medians.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import usb.core

import qkd_hal
from benchmarks._bare_host import BareHost, BareSerial, BareUsb
from benchmarks._report import Row, main
from qkd_hal.device_url import DeviceURL
from qkd_hal.emulators import start_emulator
from qkd_hal_drivers import _usb
from qkd_hal_firmware_mocks.boxlink import BoxPair
from qkd_hal_firmware_mocks.boxlink.pair import make_settings
from qkd_hal_firmware_mocks.boxlink.usb import BoxUsb
from qkd_hal_firmware_mocks.usb.virtual_backend import VirtualBackend
from qkd_hal_firmware_mocks.usb.virtual_bus import VirtualBus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from qkd_hal.device import QKDDevice
    from qkd_hal.keys import KeyId

SMALL, LARGE = 32, 1 << 16
MICROFRAME = 125e-6  # seconds
DISCOVER = """
import time
import qkd_hal
begin = time.perf_counter()
qkd_hal.discover()
print(time.perf_counter() - begin)
"""


def through_the_hal(device: QKDDevice, size: int) -> None:
    """One key, as an application takes it."""
    with device.start("bob", size=size) as session:
        session.connect()
        session.get_key().wipe()


def bare(host: BareHost, size: int) -> None:
    """The same exchange."""
    key_id = host.reserve(size)
    if not host.agree(key_id, size):
        host.fetch(key_id, size)
    host.confirm(key_id, size)


def seconds(work: Callable[[], object], times: int) -> float:
    """Return the seconds of one *work*, of *times* in a row."""
    begin = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - begin) / times


def alternating(
    ours: Callable[[], object], theirs: Callable[[], object], rounds: int, times: int
) -> tuple[float, float]:
    """Return the medians of both, measured in turn."""
    pairs = [(seconds(ours, times), seconds(theirs, times)) for _ in range(rounds)]
    return statistics.median(one for one, _ in pairs), statistics.median(two for _, two in pairs)


def overhead(
    name: str, device: QKDDevice, host: BareHost, size: int, peer: str, rounds: int
) -> Row:
    """Compare for keys of *size* bytes."""
    times = 20 if size == SMALL else 4
    ours, theirs = alternating(
        lambda: through_the_hal(device, size), lambda: bare(host, size), rounds, times
    )
    return Row(name, ours / theirs, "x", f"{peer}, {theirs * 1e6:.0f} us", ours / theirs)


def serial_rows(rounds: int) -> Iterator[Row]:
    """A box has one host at a time: the driver has Alice's, the bare loop a twin of it."""
    with ExitStack() as stack:
        pairs = [start_emulator("box") for _ in range(2)]
        for pair in pairs:
            stack.callback(pair.close)
        alice = stack.enter_context(qkd_hal.open_device(pairs[0].alice_url))
        bob = stack.enter_context(qkd_hal.open_device(pairs[0].bob_url))
        twin = DeviceURL.parse(pairs[1].alice_url)
        line = BareSerial(twin.path)
        stack.callback(line.close)
        psk = bytes.fromhex(Path(twin.query["credential"]).read_text())
        host = BareHost(line, psk, "bob")
        peer = "bare pyserial loop"
        small = overhead("serial_overhead_32B", alice, host, SMALL, peer, rounds)
        yield small
        yield overhead("serial_overhead_64KiB", alice, host, LARGE, peer, rounds)
        yield from by_id(alice, bob, rounds)
        yield fresh_keys(alice, rounds)


def fresh_keys(device: QKDDevice, rounds: int) -> Row:
    """The initiator's way: reserve, ask the other box, confirm."""
    spent = [seconds(lambda: through_the_hal(device, SMALL), 20) for _ in range(rounds)]
    return Row("serial_fresh_keys_per_s", 1 / statistics.median(spent), "keys/s")


def by_id(alice: QKDDevice, bob: QKDDevice, rounds: int) -> Iterator[Row]:
    """The responder's way, a key by its ID: bind, confirm."""
    spent = []
    for _ in range(rounds):
        key_ids = []
        for _ in range(20):
            with alice.start("bob", size=SMALL) as session:
                key_ids.append(session.key_id)
        spent.append(seconds(partial(take, bob, key_ids), 1) / len(key_ids))
    median = statistics.median(spent)
    yield Row("serial_keys_per_s", 1 / median, "keys/s")
    yield Row("serial_key_by_id_us", median * 1e6, "us")


def take(device: QKDDevice, key_ids: list[KeyId]) -> None:
    """Look all of *key_ids* up."""
    for key_id in key_ids:
        device.get_key_by_id(key_id, "alice").wipe()


class HighSpeedBackend(VirtualBackend):
    """A bus that takes its time: high-speed USB ends a bulk transfer with a microframe of
    125 us (USB 2.0, 5.8.4), and libusb hears of it then."""

    def bulk_write(self, *arguments: Any) -> int:
        moved: int = super().bulk_write(*arguments)
        rest_of_microframe()
        return moved

    def bulk_read(self, *arguments: Any) -> int:
        moved: int = super().bulk_read(*arguments)
        rest_of_microframe()
        return moved


def rest_of_microframe() -> None:
    time.sleep(MICROFRAME - time.perf_counter() % MICROFRAME)


def usb_rows(rounds: int) -> Iterator[Row]:
    """Boxes on a bus in this process; the firmware's time is in all figures.

    The second row is without the bus's own time, which on real hardware nobody is spared: it
    compares the instructions of both sides alone.
    """
    backends = {
        "usb_overhead_32B": HighSpeedBackend,
        "usb_overhead_32B_without_bus_time": VirtualBackend,
    }
    for name, kind in backends.items():
        with ExitStack() as stack:
            device, host = usb_ends(stack, kind)
            yield overhead(name, device, host, SMALL, "bare pyusb loop", rounds)


def usb_ends(stack: ExitStack, kind: type[VirtualBackend]) -> tuple[QKDDevice, BareHost]:
    """Plug in two equal boxes: one for the driver, one for the bare loop."""
    bus = VirtualBus(kind)
    _usb.provide_backend = lambda: bus.backend
    psk = bytes(32)
    pairs = [stack.enter_context(BoxPair(make_settings((psk, psk)))) for _ in range(2)]
    bus.plug(BoxUsb(pairs[0].alice))  # alone: with its twin beside it the URL fits both
    credential = Path(stack.enter_context(TemporaryDirectory())) / "psk"
    credential.touch(0o600)
    credential.write_text(psk.hex())
    url = f"usb://1209:0001/MOCK-ALICE?credential={credential}"
    device = stack.enter_context(qkd_hal.open_device(url))
    twin = bus.plug(BoxUsb(pairs[1].alice))
    found = usb.core.find(backend=bus.backend, bus=twin.bus, address=twin.address)
    return device, BareHost(BareUsb(found), psk, "bob")


def discover_row(times: int) -> Row:
    """Look at all buses in a process that has done nothing else."""
    found = [float(subprocess.check_output([sys.executable, "-c", DISCOVER])) for _ in range(times)]
    return Row("discover_ms", statistics.median(found) * 1000, "ms")


def measure(quick: bool) -> Iterable[Row]:
    """Measure all, about 10 seconds when quick."""
    rounds = 25 if quick else 100
    yield from serial_rows(rounds)
    yield from usb_rows(rounds)
    yield discover_row(5 if quick else 20)


if __name__ == "__main__":
    main("drivers", measure)
