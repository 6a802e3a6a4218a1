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
    DeviceLostError,
    DeviceNotFoundError,
    DevicePermissionError,
    StateError,
)
from qkd_hal_firmware_mocks.usb.loop_back import LoopBack

if TYPE_CHECKING:
    from collections.abc import Callable

    from qkd_hal.device import QKDDevice

    Boxes = Any

SIZES = [1, 32, 490, 4096, 4097, 16384, 16385, 65536]


def test_keys_of_every_length_come_whole(alice: QKDDevice, bob: QKDDevice) -> None:
    """Short packets, full ones with a zero-length packet behind, and transfers in chunks."""
    for size in SIZES:
        with alice.start("bob", size=size) as session:
            session.connect()
            assert session.get_key().matches(bob.get_key_by_id(session.key_id, "alice"))


def test_every_length_of_a_frame_ends(alice: QKDDevice, bob: QKDDevice) -> None:
    """Lengths around a packet's, so that a frame fills its last one in each direction."""
    with alice.start("bob", size=None) as mine:
        theirs = bob.start("alice", key_id=mine.key_id)
        mine.connect()
        theirs.connect()
        for size in range(445, 475):
            assert mine.get_key(size).matches(theirs.get_key(size))
        theirs.close()


def test_unplugging_wakes_a_call_and_plugging_in_again_recovers(
    boxes: Boxes, alice: QKDDevice
) -> None:
    boxes.plan.begin("stall")
    cut = threading.Timer(0.3, lambda: boxes.unplug("alice"))
    cut.start()
    with pytest.raises(DeviceLostError, match="MOCK-ALICE"):
        alice.status(timeout=30)
    cut.join()
    boxes.plan.begin(None)
    with pytest.raises(DeviceNotFoundError, match="Plug it in"):
        alice.init()
    boxes.plug("alice")
    alice.init()
    assert alice.status().stored_keys


def test_closing_wakes_a_call(boxes: Boxes, alice: QKDDevice) -> None:
    boxes.plan.begin("stall")
    closer = threading.Timer(0.2, alice.close)
    closer.start()
    with pytest.raises((DeviceClosedError, StateError)):
        alice.status(timeout=30)
    closer.join()


def test_what_a_usb_bus_does_is_survived(boxes: Boxes, alice: QKDDevice) -> None:
    """Endpoints that take and give nothing for a while, and endpoints that halt."""
    for fault in ["nak", "halt"] * 3:
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
    boxes.usb["alice"]._queue(b"what was left over")
    with open_device(boxes.alice_url) as second:
        assert second.status().stored_keys


def test_without_a_serial_number_one_box_must_be_alone(boxes: Boxes) -> None:
    ambiguous = boxes.alice_url.replace("/MOCK-ALICE", "")
    with pytest.raises(ConfigurationError, match="MOCK-ALICE, MOCK-BOB"):
        open_device(ambiguous).init()
    boxes.unplug("bob")
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
    boxes.unplug("bob")
    boxes.plug_other(LoopBack("MOCK-BOB"))
    with pytest.raises(DeviceNotFoundError, match="no boxlink interface"):
        open_device(boxes.bob_url).init()


def test_two_hosts_do_not_share_a_box(boxes: Boxes, alice: QKDDevice) -> None:
    alice.status()
    with pytest.raises(DeviceBusyError):
        open_device(boxes.alice_url).init()
    alice.close()
    with open_device(boxes.alice_url) as second:
        second.status()


@pytest.mark.usefixtures("boxes")
def test_a_wrong_psk_is_named(url_with: Callable[[bytes], str]) -> None:
    with pytest.raises(DevicePermissionError, match="PSK"):
        open_device(url_with(bytes(32))).init()
