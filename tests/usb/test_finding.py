"""Which USB device a driver opens, among others that are forbidden or broken."""

from __future__ import annotations

import pytest

from qkd_hal.errors import DevicePermissionError, ProtocolError
from qkd_hal_drivers import _usb
from qkd_hal_firmware_mocks.usb.loop_back import LoopBack
from qkd_hal_firmware_mocks.usb.virtual_bus import VirtualBus


@pytest.fixture
def bus(monkeypatch: pytest.MonkeyPatch) -> VirtualBus:
    bus = VirtualBus()
    monkeypatch.setattr(_usb, "provide_backend", lambda: bus.backend)
    return bus


def test_a_forbidden_device_hides_no_other(bus: VirtualBus) -> None:
    functions = [LoopBack("OURS"), LoopBack("THEIRS")]
    _, theirs = map(bus.plug, functions)
    vendor, product = (functions[0].descriptors.device[at : at + 2] for at in (8, 10))
    ids = int.from_bytes(vendor, "little"), int.from_bytes(product, "little")
    theirs.permitted = False
    assert _usb.find(ids, "OURS", device="it").serial_number == "OURS"
    with pytest.raises(DevicePermissionError, match=r"it.*udev install"):
        _usb.find(ids, "THEIRS", device="it")


@pytest.mark.parametrize(
    "error",
    [IndexError("empty"), UnicodeDecodeError("utf-16-le", b"", 0, 1, "")],
)
def test_strings_that_are_none_are_the_devices_fault(error: Exception) -> None:
    with pytest.raises(ProtocolError, match=r"describes itself.*it"), _usb.errors("it"):
        raise error
