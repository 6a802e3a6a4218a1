"""The token as a USB device: unplugged, busy, deaf, reset; on a bus here or a real kernel."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
import usb.util

from qkd_hal import open_device
from qkd_hal.errors import (
    DeviceBusyError,
    DeviceClosedError,
    DeviceLostError,
    DeviceNotFoundError,
    StateError,
)
from qkd_hal.keys import KeyId
from qkd_hal_drivers import _usb
from qkd_hal_firmware_mocks.token.ccid import CcidToken
from tests.drivers.usb_token.conftest import exchange, initialised, raw

if TYPE_CHECKING:
    from qkd_hal.device import QKDDevice
    from tests.drivers.usb_token.conftest import UsbTokens


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


def test_a_halt_costs_nothing(tokens: UsbTokens, alice: QKDDevice, bob: QKDDevice) -> None:
    tokens.plan.once("halt@FETCH")
    exchange(alice, bob)
    assert tokens.plan.log.count("halt") == 1


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
