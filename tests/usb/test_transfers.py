"""What a host sees of a USB device: the same on the virtual bus and on a real kernel."""

from __future__ import annotations

import errno
import threading
from typing import TYPE_CHECKING, Any

import pytest
import usb.core
import usb.util

from qkd_hal_firmware_mocks.usb.loop_back import LoopBack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qkd_hal_firmware_mocks.usb.virtual_bus import Plugged
    from qkd_hal_firmware_mocks.usb.worlds import UsbWorld

OUT, IN, BELL = 0x01, 0x81, 0x82
PACKET = 512
PATIENT = 5000  # ms, for what must come; an emulated machine is slow
BRIEF = 100  # ms, for what must not come


@pytest.fixture
def firmware() -> LoopBack:
    return LoopBack()


@pytest.fixture
def plugged(usb_world: UsbWorld, firmware: LoopBack) -> Plugged:
    return usb_world.plug(firmware)


@pytest.fixture
def device(usb_world: UsbWorld, plugged: Plugged) -> Iterator[Any]:
    found = find(usb_world, plugged)
    yield found
    usb.util.dispose_resources(found)


def find(world: UsbWorld, plugged: Plugged) -> Any:
    return usb.core.find(backend=world.backend, bus=plugged.bus, address=plugged.address)


def test_descriptors_and_strings_are_the_firmwares(device: Any) -> None:
    assert (device.idVendor, device.idProduct, device.bcdDevice) == (0x1209, 0x0001, 0x0100)
    assert (device.manufacturer, device.product) == ("qkd-hal", "loop-back")
    assert device.serial_number == "LOOP-1"
    assert device.speed == usb.util.SPEED_HIGH
    assert device.langids == (0x0409,)


def test_a_configured_device_shows_its_interface_and_endpoints(device: Any) -> None:
    configuration = device.get_active_configuration()
    assert configuration.bConfigurationValue == 1
    (interface,) = configuration
    assert interface.bInterfaceClass == 0xFF
    assert usb.util.get_string(device, interface.iInterface) == "echo"
    sizes = {end.bEndpointAddress: (end.bmAttributes, end.wMaxPacketSize) for end in interface}
    assert sizes == {OUT: (2, PACKET), IN: (2, PACKET), BELL: (3, 16)}


def test_find_filters_by_identity(usb_world: UsbWorld, plugged: Plugged) -> None:
    assert plugged.address
    backend = usb_world.backend
    assert usb.core.find(backend=backend, idVendor=0x1209, idProduct=0x0001) is not None
    assert usb.core.find(backend=backend, idVendor=0x1209, idProduct=0x0009) is None


@pytest.mark.parametrize("size", [1, PACKET - 1, PACKET + 1, 20 * PACKET + 7])
def test_bulk_comes_back_whole(device: Any, size: int) -> None:
    message = bytes(i * 7 % 251 for i in range(size))
    assert device.write(OUT, message, PATIENT) == size
    assert device.read(IN, 64 * PACKET, PATIENT).tobytes() == message


def test_a_multiple_of_the_packet_size_ends_with_a_zero_length_packet(device: Any) -> None:
    message = bytes(2 * PACKET)
    device.write(OUT, message, PATIENT)
    with pytest.raises(usb.core.USBTimeoutError):
        device.read(IN, 8 * PACKET, BRIEF)
    device.write(OUT, b"", PATIENT)
    assert device.read(IN, 8 * PACKET, PATIENT).tobytes() == message


def test_a_full_buffer_ends_a_read_and_leaves_the_rest(device: Any) -> None:
    device.write(OUT, bytes(PACKET) + b"rest", PATIENT)
    assert len(device.read(IN, PACKET, PATIENT)) == PACKET
    assert device.read(IN, PACKET, PATIENT).tobytes() == b"rest"


def test_a_bell_rings_for_each_message(device: Any) -> None:
    device.write(OUT, b"abc", PATIENT)
    assert device.read(BELL, 16, PATIENT).tobytes() == (3).to_bytes(4, "little")
    with pytest.raises(usb.core.USBTimeoutError):
        device.read(BELL, 16, BRIEF)


def test_a_read_that_waits_gets_what_comes_later(device: Any, firmware: LoopBack) -> None:
    later = threading.Timer(0.05, firmware.say, args=(b"news",))
    later.start()
    assert device.read(IN, PACKET, PATIENT).tobytes() == b"news"
    later.join()


def test_a_time_out_carries_its_errno_and_harms_nothing(device: Any) -> None:
    with pytest.raises(usb.core.USBTimeoutError) as caught:
        device.read(IN, PACKET, BRIEF)
    assert caught.value.errno == errno.ETIMEDOUT
    device.write(OUT, b"on", PATIENT)
    assert device.read(IN, PACKET, PATIENT).tobytes() == b"on"


def test_a_time_out_in_mid_message_gives_what_came(device: Any, firmware: LoopBack) -> None:
    firmware.offer_packet(bytes(PACKET))
    assert len(device.read(IN, 4 * PACKET, BRIEF)) == PACKET


def test_a_write_waits_for_room(device: Any, firmware: LoopBack) -> None:
    firmware.full = True
    with pytest.raises(usb.core.USBTimeoutError):
        device.write(OUT, b"no room", BRIEF)
    later = threading.Timer(0.05, setattr, args=(firmware, "full", False))
    later.start()
    assert device.write(OUT, b"room", PATIENT) == 4
    later.join()
    assert device.read(IN, PACKET, PATIENT).tobytes() == b"room"


@pytest.mark.parametrize("endpoint", [IN, OUT])
def test_a_stall_lasts_until_it_is_cleared(device: Any, firmware: LoopBack, endpoint: int) -> None:
    def move() -> None:
        if endpoint == OUT:
            device.write(OUT, b"more", PATIENT)
        else:
            device.read(IN, PACKET, PATIENT)

    firmware.say(b"behind the stall")
    firmware.stalled = {endpoint}
    for _ in range(2):
        with pytest.raises(usb.core.USBError) as caught:
            move()
        assert caught.value.errno == errno.EPIPE
    device.clear_halt(endpoint)
    move()


def test_more_than_the_host_has_room_for_is_an_overflow(device: Any) -> None:
    device.write(OUT, bytes(PACKET - 1), PATIENT)
    with pytest.raises(usb.core.USBError) as caught:
        device.read(IN, 10, PATIENT)
    assert caught.value.errno == errno.EOVERFLOW


def test_a_packet_beyond_its_endpoints_size_is_an_overflow(device: Any, firmware: LoopBack) -> None:
    firmware.oversized = True
    with pytest.raises(usb.core.USBError) as caught:
        device.read(IN, 8 * PACKET, PATIENT)
    assert caught.value.errno == errno.EOVERFLOW


def test_control_requests_reach_the_firmware(device: Any, firmware: LoopBack) -> None:
    assert device.ctrl_transfer(0x40, 1, 0, 0, b"register", PATIENT) == 8
    assert firmware.register == b"register"
    assert device.ctrl_transfer(0xC0, 2, 0, 0, 64, PATIENT).tobytes() == b"register"
    assert device.ctrl_transfer(0xC0, 2, 0, 0, 3, PATIENT).tobytes() == b"reg"


def test_an_unknown_request_stalls_once_and_the_next_is_served(device: Any) -> None:
    with pytest.raises(usb.core.USBError) as caught:
        device.ctrl_transfer(0xC0, 99, 0, 0, 8, PATIENT)
    assert caught.value.errno == errno.EPIPE
    assert device.ctrl_transfer(0xC0, 2, 0, 0, 8, PATIENT).tobytes() == b""


def test_a_control_request_can_time_out(device: Any, firmware: LoopBack) -> None:
    firmware.full = True
    with pytest.raises(usb.core.USBTimeoutError):
        device.ctrl_transfer(0xC0, 2, 0, 0, 8, BRIEF)


def test_one_handle_claims_an_interface(usb_world: UsbWorld, plugged: Plugged) -> None:
    first, second = find(usb_world, plugged), find(usb_world, plugged)
    usb.util.claim_interface(first, 0)
    with pytest.raises(usb.core.USBError) as caught:
        usb.util.claim_interface(second, 0)
    assert caught.value.errno == errno.EBUSY
    usb.util.release_interface(first, 0)
    usb.util.claim_interface(second, 0)
    usb.util.dispose_resources(second)
    usb.util.claim_interface(first, 0)
    usb.util.dispose_resources(first)


def test_an_interface_that_is_not_there_cannot_be_claimed(device: Any) -> None:
    with pytest.raises(usb.core.USBError) as caught:
        usb.util.claim_interface(device, 7)
    assert caught.value.errno == errno.ENOENT


def test_a_claimed_device_keeps_its_configuration(device: Any) -> None:
    usb.util.claim_interface(device, 0)
    with pytest.raises(usb.core.USBError) as caught:
        device.set_configuration(1)
    assert caught.value.errno == errno.EBUSY


def test_a_new_configuration_resets_the_firmware(device: Any, firmware: LoopBack) -> None:
    firmware.say(b"of the past")
    before = firmware.resets
    device.set_configuration(1)
    assert firmware.resets > before
    with pytest.raises(usb.core.USBTimeoutError):
        device.read(IN, PACKET, BRIEF)


def test_a_reset_ends_a_halt_and_drops_data(device: Any, firmware: LoopBack) -> None:
    firmware.stalled = {IN}
    with pytest.raises(usb.core.USBError):
        device.read(IN, PACKET, PATIENT)
    firmware.say(b"of the past")
    device.reset()
    device.write(OUT, b"new", PATIENT)
    assert device.read(IN, PACKET, PATIENT).tobytes() == b"new"


def test_no_kernel_driver_takes_a_vendor_interface(device: Any) -> None:
    assert not device.is_kernel_driver_active(0)
    with pytest.raises(usb.core.USBError) as caught:
        device.detach_kernel_driver(0)
    assert caught.value.errno == errno.ENOENT


@pytest.mark.parametrize("endpoint", [IN, BELL])
def test_unplugging_ends_a_read_that_waits(
    usb_world: UsbWorld, plugged: Plugged, device: Any, endpoint: int
) -> None:
    device.get_active_configuration()
    later = threading.Timer(0.1, usb_world.unplug, args=(plugged,))
    later.start()
    with pytest.raises(usb.core.USBError) as caught:
        device.read(endpoint, PACKET, 4 * PATIENT)
    later.join()
    assert caught.value.errno == errno.ENODEV


def test_unplugging_ends_a_write_that_waits(
    usb_world: UsbWorld, plugged: Plugged, device: Any, firmware: LoopBack
) -> None:
    firmware.full = True
    device.get_active_configuration()
    later = threading.Timer(0.1, usb_world.unplug, args=(plugged,))
    later.start()
    with pytest.raises(usb.core.USBError) as caught:
        device.write(OUT, b"lost", 4 * PATIENT)
    later.join()
    assert caught.value.errno == errno.ENODEV


def test_an_unplugged_device_is_gone_for_everything(
    usb_world: UsbWorld, plugged: Plugged, device: Any
) -> None:
    device.write(OUT, b"x", PATIENT)
    usb_world.unplug(plugged)
    assert find(usb_world, plugged) is None
    calls: list[Callable[[], object]] = [
        lambda: device.write(OUT, b"x", PATIENT),
        lambda: device.read(IN, PACKET, PATIENT),
        lambda: device.ctrl_transfer(0xC0, 2, 0, 0, 8, PATIENT),
        lambda: device.clear_halt(IN),
        device.reset,
    ]
    for call in calls:
        with pytest.raises(usb.core.USBError) as caught:
            call()
        assert caught.value.errno == errno.ENODEV


def test_a_device_that_comes_back_has_another_address(
    usb_world: UsbWorld, plugged: Plugged, firmware: LoopBack
) -> None:
    usb_world.unplug(plugged)
    again = usb_world.plug(firmware)
    assert again.address != plugged.address
    device = find(usb_world, again)
    device.write(OUT, b"again", PATIENT)
    assert device.read(IN, PACKET, PATIENT).tobytes() == b"again"
    usb.util.dispose_resources(device)


def test_two_devices_are_told_apart_by_serial_number(usb_world: UsbWorld) -> None:
    for name in ("A", "B"):
        usb_world.plug(LoopBack(name))
    found = usb.core.find(backend=usb_world.backend, find_all=True, idVendor=0x1209)
    assert sorted(device.serial_number for device in found) == ["A", "B"]
