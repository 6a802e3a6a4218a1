"""The token as a USB device: unplugged, busy, deaf, reset; on a bus here or a real kernel."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
import usb.util

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
    UnsupportedError,
)
from qkd_hal.keys import KeyId
from qkd_hal_drivers import _usb
from qkd_hal_firmware_mocks.token.ccid import CcidToken
from qkd_hal_firmware_mocks.usb.loop_back import LoopBack
from qkd_hal_firmware_mocks.usb.virtual_bus import VirtualBus
from tests.drivers.usb_token.conftest import initialised, raw

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qkd_hal.device import QKDDevice
    from tests.drivers.usb_token.conftest import UsbTokens


@pytest.fixture
def alice(tokens: UsbTokens) -> Iterator[QKDDevice]:
    with open_device(tokens.url("alice")) as device:
        yield device


@pytest.fixture
def bob(tokens: UsbTokens) -> Iterator[QKDDevice]:
    with open_device(tokens.url("bob")) as device:
        yield device


def exchange(alice: QKDDevice, bob: QKDDevice) -> None:
    with alice.start(size=32) as session:
        session.connect()
        assert session.get_key().matches(bob.get_key_by_id(session.key_id))


def test_unplugging_wakes_a_call_and_plugging_in_again_recovers(
    tokens: UsbTokens, alice: QKDDevice, bob: QKDDevice
) -> None:
    tokens.plan.begin("stall")
    cut = threading.Timer(0.3, tokens.unplug_alice)
    cut.start()
    with pytest.raises(DeviceLostError, match="TOKEN-ALICE"):
        alice.status(timeout=30)
    cut.join()
    tokens.plan.begin(None)
    with pytest.raises(DeviceNotFoundError, match="Plug it in"):
        alice.init()
    tokens.plug_alice()
    alice.init()
    exchange(alice, bob)


def test_closing_wakes_a_call(tokens: UsbTokens, alice: QKDDevice) -> None:
    tokens.plan.begin("stall")
    closer = threading.Timer(0.2, alice.close)
    closer.start()
    with pytest.raises((DeviceClosedError, StateError)):
        alice.status(timeout=30)
    closer.join()


@pytest.mark.parametrize(
    "fault",
    ["halt", "duplicate", "slow", "hardware-error", "card-gone", "reset", "lie", "wrong-type"],
)
def test_one_disturbance_costs_nothing(
    tokens: UsbTokens, alice: QKDDevice, bob: QKDDevice, fault: str
) -> None:
    for operation in ("STATUS", "RESERVE", "FETCH", "CONFIRM"):
        tokens.plan.once(f"{fault}@{operation}")
        exchange(alice, bob)
    assert tokens.plan.log.count(fault) == 4
    status = alice.status()
    assert (status.stored_keys, status.details["claimed_keys"]) == (36, 0)


def test_more_time_is_granted_until_the_deadline(tokens: UsbTokens, alice: QKDDevice) -> None:
    tokens.plan.once("time-storm")
    with pytest.raises(DeadlineError):
        alice.status(timeout=0.3)
    assert alice.status().stored_keys


def test_two_hosts_do_not_share_a_token(tokens: UsbTokens, alice: QKDDevice) -> None:
    with pytest.raises(DeviceBusyError, match=r"token\+pcsc"):
        open_device(tokens.url("alice")).init()
    alice.close()
    with open_device(tokens.url("alice")) as second:
        second.status()


def test_closing_takes_the_power_from_the_card(tokens: UsbTokens, alice: QKDDevice) -> None:
    alice.close()
    found = _usb.find((0x1209, 0x0005), "TOKEN-ALICE", device="token")
    found.write(0x01, bytes.fromhex("65000000000009000000"), 1000)
    answer = bytes(found.read(0x82, 64, 1000))
    usb.util.dispose_resources(found)
    assert (answer[0], answer[7] & 3) == (0x81, 1)  # inactive


def test_keys_of_every_length(tokens: UsbTokens) -> None:
    tokens.world.unplug(tokens.plugged[0])
    key = bytes(range(1, 201))
    peer = initialised("alice", "bob")
    tokens.world.plug(CcidToken(peer))
    for command in ("00A4040008F0514B4448414C0100", "0020008110" + "74616e676572696e65" + "ff" * 7):
        assert raw(peer, command).endswith(b"\x90\x00")
    sizes = range(1, 200, 13)
    for size in sizes:
        data = bytes([size]) * 16 + size.to_bytes(4, "big") + b"\x01\x02" + key[:size]
        assert peer.transmit(bytes([0x80, 0x12, 2, 0, len(data)]) + data) == b"\x90\x00"
    with open_device(tokens.url("alice")) as device:
        for size in sizes:
            taken = device.get_key_by_id(KeyId.from_bytes(bytes([size]) * 16))
            assert taken.matches(key[:size])


def test_another_token_under_the_same_name_is_noticed(tokens: UsbTokens, alice: QKDDevice) -> None:
    """Erased and filled anew behind our back: names and provenance are those of another."""
    applet = tokens.applets[0]
    secrets = (b"\x80\x10" + b"123456".ljust(16, b"\xff")) + (
        b"\x81\x10" + b"87654321".ljust(16, b"\xff")
    )
    data = secrets + b"\x82\x04erin\x83\x05frank"
    assert applet.transmit(bytes([0x80, 0x10, 0, 0, len(data)]) + data) == b"\x90\x00"
    with pytest.raises(DeviceLostError, match=r"anew|init"):
        alice.status()


@pytest.mark.parametrize(
    "url", ["token://1209/X", "token:///dev", "token://1209:0005/A/B", "token://1209:0005/A?a=b"]
)
def test_another_address_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError):
        open_device(url)


def test_a_device_without_the_interface_is_no_token(tokens: UsbTokens) -> None:
    tokens.world.plug(LoopBack("NONE"))
    url = tokens.url("none").replace("TOKEN-NONE", "NONE").replace("0005", "0001")
    with pytest.raises(DeviceNotFoundError, match="no smart card"):
        open_device(url).init()


class TestOnTheVirtualBus:
    """What only a bus in this process can be told to do."""

    @pytest.fixture
    def bus(self, tokens: UsbTokens, monkeypatch: pytest.MonkeyPatch) -> VirtualBus:
        bus = VirtualBus()
        monkeypatch.setattr(_usb, "provide_backend", lambda: bus.backend)
        return bus

    def test_no_right_to_open_it_names_the_cure(self, bus: VirtualBus, tokens: UsbTokens) -> None:
        bus.plug(tokens.usb[0], permitted=False)
        with pytest.raises(DevicePermissionError, match="qkd-hal udev install"):
            open_device(tokens.url("alice")).init()

    def test_nothing_stays_claimed_after_a_failure(
        self, bus: VirtualBus, tokens: UsbTokens
    ) -> None:
        plugged = bus.plug(tokens.usb[0])
        tokens.write_pin(b"wrong-pin")
        with pytest.raises(DevicePermissionError):
            open_device(tokens.url("alice")).init()
        assert not plugged.claims

    def test_a_reader_of_tpdus_is_refused(self, bus: VirtualBus, tokens: UsbTokens) -> None:
        bus.plug(_Reader(tokens.applets[0]))
        with pytest.raises(UnsupportedError, match=r"token\+pcsc"):
            open_device(tokens.url("alice")).init()


class _Reader(CcidToken):
    """A token whose class descriptor offers TPDUs only."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        levels, tpdu = (0x000400BA).to_bytes(4, "little"), (0x000100BA).to_bytes(4, "little")
        whole = self.descriptors.configuration
        assert levels in whole
        object.__setattr__(self.descriptors, "configuration", whole.replace(levels, tpdu))
