"""The token's driver over a cable with faults, and on devices that are none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from qkd_hal import open_device
from qkd_hal.errors import (
    ConfigurationError,
    DeadlineError,
    DeviceLostError,
    DeviceNotFoundError,
    DevicePermissionError,
    UnsupportedError,
)
from qkd_hal_drivers import _usb
from qkd_hal_firmware_mocks.token.ccid import CcidToken
from qkd_hal_firmware_mocks.usb.loop_back import LoopBack
from qkd_hal_firmware_mocks.usb.virtual_bus import VirtualBus
from tests.drivers.usb_token.conftest import UsbTokens, exchange

if TYPE_CHECKING:
    from qkd_hal.device import QKDDevice


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
