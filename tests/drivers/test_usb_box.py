"""The USB box's driver against its firmware: on a bus in this process, or on a real kernel."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from qkd_hal import open_device
from qkd_hal.errors import (
    ConfigurationError,
    DeadlineError,
    DeviceBusyError,
    DeviceClosedError,
    DeviceError,
    DeviceLostError,
    DeviceNotFoundError,
    DevicePermissionError,
    QKDError,
    StateError,
)
from qkd_hal.testing.conformance import DeviceConformance
from qkd_hal_drivers import _usb
from qkd_hal_firmware_mocks.boxlink import BoxPair
from qkd_hal_firmware_mocks.boxlink.pair import make_settings
from qkd_hal_firmware_mocks.boxlink.usb import BoxUsb
from qkd_hal_firmware_mocks.faults import FaultPlan
from qkd_hal_firmware_mocks.usb.loop_back import LoopBack
from qkd_hal_firmware_mocks.usb.virtual_bus import VirtualBus

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from qkd_hal.device import QKDDevice
    from qkd_hal_firmware_mocks.usb.worlds import UsbWorld

PSKS = (bytes(range(32)), bytes(range(1, 33)))
SIZES = [1, 32, 490, 4096, 4097, 16384, 16385, 65536]


class Boxes:
    """Two boxes, plugged in, and where to open them."""

    def __init__(self, world: UsbWorld, directory: Path) -> None:
        self.world = world
        self.pair = BoxPair(make_settings(PSKS))
        self.alice_url = _url("MOCK-ALICE", directory / "alice.psk", PSKS[0])
        self.bob_url = _url("MOCK-BOB", directory / "bob.psk", PSKS[1])
        self.plan = FaultPlan()
        self.usb = [BoxUsb(self.pair.alice, self.plan), BoxUsb(self.pair.bob)]
        self.plugged: list[Any] = [world.plug(each) for each in self.usb]

    def unplug_alice(self) -> None:
        """Pull the plug of the first box."""
        self.world.unplug(self.plugged[0])

    def plug_alice(self) -> None:
        """Put it back."""
        self.plugged[0] = self.world.plug(self.usb[0])


def _url(serial_number: str, credential: Path, psk: bytes) -> str:
    credential.touch(0o600)
    credential.write_text(psk.hex())
    return f"usb://1209:0001/{serial_number}?credential={credential}"


@pytest.fixture
def boxes(usb_world: UsbWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Boxes]:
    monkeypatch.setattr(_usb, "provide_backend", lambda: usb_world.backend)
    boxes = Boxes(usb_world, tmp_path)
    yield boxes
    boxes.pair.close()


@pytest.fixture
def alice(boxes: Boxes) -> Iterator[QKDDevice]:
    with open_device(boxes.alice_url) as device:
        yield device


@pytest.fixture
def bob(boxes: Boxes) -> Iterator[QKDDevice]:
    with open_device(boxes.bob_url) as device:
        yield device


class TestUsbBoxes(DeviceConformance):
    """The whole contract."""

    serial_numbers = frozenset({"MOCK-ALICE", "MOCK-BOB"})

    @pytest.fixture
    def pair(self, alice: QKDDevice, bob: QKDDevice) -> tuple[QKDDevice, QKDDevice]:
        return alice, bob


@pytest.mark.parametrize("size", SIZES)
def test_keys_of_every_length_come_whole(alice: QKDDevice, bob: QKDDevice, size: int) -> None:
    """Short packets, full ones with a zero-length packet behind, and transfers in chunks."""
    with alice.start("bob", size=size) as session:
        session.connect()
        assert session.get_key().matches(bob.get_key_by_id(session.key_id, "alice"))


def test_every_length_of_a_frame_ends(alice: QKDDevice, bob: QKDDevice) -> None:
    """Two packets' worth of lengths, so that each remainder occurs in each direction."""
    with alice.start("bob", size=None) as mine:
        theirs = bob.start("alice", key_id=mine.key_id)
        mine.connect()
        theirs.connect()
        for size in range(400, 560):
            assert mine.get_key(size).matches(theirs.get_key(size))
        theirs.close()


def test_unplugging_wakes_a_call_and_plugging_in_again_recovers(
    boxes: Boxes, alice: QKDDevice
) -> None:
    boxes.plan.begin("stall")
    cut = threading.Timer(0.3, boxes.unplug_alice)
    cut.start()
    with pytest.raises(DeviceLostError, match="MOCK-ALICE"):
        alice.status(timeout=30)
    cut.join()
    boxes.plan.begin(None)
    with pytest.raises(DeviceNotFoundError, match="Plug it in"):
        alice.init()
    boxes.plug_alice()
    alice.init()
    assert alice.status().stored_keys


def test_closing_wakes_a_call(boxes: Boxes, alice: QKDDevice) -> None:
    boxes.plan.begin("stall")
    closer = threading.Timer(0.2, alice.close)
    closer.start()
    with pytest.raises((DeviceClosedError, StateError)):
        alice.status(timeout=30)
    closer.join()


@pytest.mark.parametrize("fault", ["nak", "halt"])
def test_what_a_usb_bus_does_is_survived(boxes: Boxes, alice: QKDDevice, fault: str) -> None:
    """Endpoints that take and give nothing for a while, and endpoints that halt."""
    for _ in range(3):
        boxes.plan.once(fault)
        assert alice.status().stored_keys


def test_a_box_that_never_answers_is_given_up_in_time(boxes: Boxes, alice: QKDDevice) -> None:
    boxes.plan.begin("stall")
    with pytest.raises(DeadlineError, match="STATUS"):
        alice.status(timeout=0.3)


def test_answers_to_a_former_process_are_dropped(boxes: Boxes) -> None:
    """A process died after its request: its answer still waits in the box."""
    with open_device(boxes.alice_url) as first:
        first.status()
    boxes.usb[0]._queue(b"what was left over")
    with open_device(boxes.alice_url) as second:
        assert second.status().stored_keys


def test_without_a_serial_number_one_box_must_be_alone(boxes: Boxes) -> None:
    ambiguous = boxes.alice_url.replace("/MOCK-ALICE", "")
    with pytest.raises(ConfigurationError, match="MOCK-ALICE, MOCK-BOB"):
        open_device(ambiguous).init()
    boxes.world.unplug(boxes.plugged[1])
    with open_device(ambiguous) as device:
        assert device.info.serial_number == "MOCK-ALICE"


@pytest.mark.parametrize(
    "url",
    ["usb://1209/MOCK", "usb:///dev", "usb://1209:0001/A/B", "usb://1209:0001/A?baud=9600"],
)
def test_another_address_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError):
        open_device(url)


def test_a_device_without_the_interface_is_no_box(boxes: Boxes) -> None:
    boxes.world.unplug(boxes.plugged[1])
    boxes.world.plug(LoopBack("MOCK-BOB"))
    with pytest.raises(DeviceNotFoundError, match="no boxlink interface"):
        open_device(boxes.bob_url).init()


def test_two_hosts_do_not_share_a_box(boxes: Boxes, alice: QKDDevice) -> None:
    alice.status()
    with pytest.raises(DeviceBusyError):
        open_device(boxes.alice_url).init()
    alice.close()
    with open_device(boxes.alice_url) as second:
        second.status()


def test_a_wrong_psk_is_named(boxes: Boxes, tmp_path: Path) -> None:
    wrong = _url("MOCK-ALICE", tmp_path / "wrong.psk", bytes(32))
    with pytest.raises(DevicePermissionError, match="PSK"):
        open_device(wrong).init()


class TestOnTheVirtualBus:
    """What only a bus in this process can be told to do."""

    @pytest.fixture
    def bus(self, monkeypatch: pytest.MonkeyPatch) -> VirtualBus:
        bus = VirtualBus()
        monkeypatch.setattr(_usb, "provide_backend", lambda: bus.backend)
        return bus

    @pytest.fixture
    def pair(self) -> Iterator[BoxPair]:
        with BoxPair(make_settings(PSKS)) as pair:
            yield pair

    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return _url("MOCK-ALICE", tmp_path / "psk", PSKS[0])

    def test_no_right_to_open_it_names_the_cure(
        self, bus: VirtualBus, pair: BoxPair, url: str
    ) -> None:
        bus.plug(BoxUsb(pair.alice), permitted=False)
        with pytest.raises(DevicePermissionError, match="qkd-hal udev install"):
            open_device(url).init()

    def test_a_kernel_driver_is_detached(self, bus: VirtualBus, pair: BoxPair, url: str) -> None:
        plugged = bus.plug(BoxUsb(pair.alice), kernel_drivers=[0])
        with open_device(url) as device:
            assert device.status().stored_keys
        assert not plugged.bound

    def test_an_unconfigured_device_is_configured(
        self, bus: VirtualBus, pair: BoxPair, url: str
    ) -> None:
        bus.plug(BoxUsb(pair.alice), configured=False)
        with open_device(url) as device:
            assert device.status().stored_keys

    def test_nothing_stays_claimed_after_a_failure(
        self, bus: VirtualBus, pair: BoxPair, tmp_path: Path
    ) -> None:
        plugged = bus.plug(BoxUsb(pair.alice))
        with pytest.raises(QKDError):
            open_device(_url("MOCK-ALICE", tmp_path / "wrong", bytes(32))).init()
        assert not plugged.claims

    def test_packets_without_an_end_do_not_hold_a_call(
        self, bus: VirtualBus, url: str, pair: BoxPair
    ) -> None:
        box = _Endless(pair.alice)
        bus.plug(box)
        with open_device(url) as device:
            box.endless = True
            with pytest.raises((DeadlineError, DeviceError)):
                device.status(timeout=0.3)


class _Endless(BoxUsb):
    endless = False

    def send(self, endpoint: int) -> bytes | None:
        """Give full packets for ever."""
        return bytes(512) if self.endless and endpoint == 0x81 else super().send(endpoint)
