"""What the virtual bus does in the kernel's place: access, kernel drivers, configuration."""

from __future__ import annotations

import array
import errno
import threading
from typing import TYPE_CHECKING, Any

import pytest
import usb.control
import usb.core
import usb.util

from qkd_hal_firmware_mocks.usb import descriptors
from qkd_hal_firmware_mocks.usb.descriptors import DescriptorError
from qkd_hal_firmware_mocks.usb.function import Nak, UsbDescriptors
from qkd_hal_firmware_mocks.usb.loop_back import LoopBack
from qkd_hal_firmware_mocks.usb.virtual_bus import VirtualBus

if TYPE_CHECKING:
    from collections.abc import Callable

    from qkd_hal_firmware_mocks.usb.virtual_bus import PluggedDevice

OUT, IN, BELL = 0x01, 0x81, 0x82


@pytest.fixture
def bus() -> VirtualBus:
    return VirtualBus()


def find(bus: VirtualBus, plugged: PluggedDevice) -> Any:
    return usb.core.find(backend=bus.backend, address=plugged.address)


def errno_of(call: Callable[[], object]) -> int | None:
    with pytest.raises(usb.core.USBError) as caught:
        call()
    number: int | None = caught.value.errno
    return number


def test_without_permission_a_device_is_seen_and_not_opened(bus: VirtualBus) -> None:
    plugged = bus.plug(LoopBack(), permitted=False)
    device = find(bus, plugged)
    assert device.idVendor == 0x1209
    assert errno_of(device.get_active_configuration) == errno.EACCES
    with pytest.raises(ValueError, match="no langid"):
        _ = device.serial_number
    plugged.permitted = True
    assert device.get_active_configuration().bConfigurationValue == 1


def test_a_kernel_driver_holds_its_interface_until_detached(bus: VirtualBus) -> None:
    device = find(bus, bus.plug(LoopBack(), kernel_drivers=[0]))
    assert device.is_kernel_driver_active(0)
    assert errno_of(lambda: device.write(OUT, b"x")) == errno.EBUSY
    assert errno_of(lambda: device.set_configuration(1)) == errno.EBUSY
    device.detach_kernel_driver(0)
    assert errno_of(lambda: device.detach_kernel_driver(0)) == errno.ENOENT
    device.write(OUT, b"x")
    assert errno_of(lambda: device.attach_kernel_driver(0)) == errno.EBUSY
    usb.util.release_interface(device, 0)
    device.attach_kernel_driver(0)
    assert device.is_kernel_driver_active(0)


def test_no_driver_is_attached_where_none_fits(bus: VirtualBus) -> None:
    device = find(bus, bus.plug(LoopBack()))
    assert errno_of(lambda: device.attach_kernel_driver(0)) == errno.ENOENT


def test_an_unconfigured_device_takes_a_configuration(bus: VirtualBus) -> None:
    firmware = LoopBack()
    device = find(bus, bus.plug(firmware, configured=False))
    assert firmware.resets == 1
    with pytest.raises(usb.core.USBError):
        device.get_active_configuration()
    device.set_configuration()
    device.write(OUT, b"x")
    assert device.read(IN, 512).tobytes() == b"x"


def test_an_unknown_configuration_is_refused(bus: VirtualBus) -> None:
    plugged = bus.plug(LoopBack())
    handle = bus.backend.open_device(plugged)
    assert errno_of(lambda: bus.backend.set_configuration(handle, 2)) == errno.ENOENT
    assert errno_of(lambda: bus.backend.get_configuration_descriptor(plugged, 1)) == errno.ENOENT


def test_only_who_claimed_may_release_or_choose_a_setting(bus: VirtualBus) -> None:
    plugged = bus.plug(LoopBack())
    first, second = bus.backend.open_device(plugged), bus.backend.open_device(plugged)
    bus.backend.claim_interface(first, 0)
    bus.backend.claim_interface(first, 0)
    assert errno_of(lambda: bus.backend.release_interface(second, 0)) == errno.ENOENT
    assert errno_of(lambda: bus.backend.set_interface_altsetting(second, 0, 0)) == errno.ENOENT
    bus.backend.set_interface_altsetting(first, 0, 0)
    assert errno_of(lambda: bus.backend.set_interface_altsetting(first, 0, 9)) == errno.ENOENT
    bus.backend.close_device(first)
    bus.backend.claim_interface(second, 0)


def test_a_device_that_is_gone_cannot_be_opened(bus: VirtualBus) -> None:
    plugged = bus.plug(LoopBack())
    device = find(bus, plugged)
    bus.unplug(plugged)
    assert errno_of(device.get_active_configuration) == errno.ENODEV


def test_a_halted_endpoint_says_so(bus: VirtualBus) -> None:
    firmware = LoopBack()
    device = find(bus, bus.plug(firmware))
    end = device.get_active_configuration()[(0, 0)][1]
    assert usb.control.get_status(device, end) == 0
    usb.control.set_feature(device, usb.control.ENDPOINT_HALT, end)
    assert usb.control.get_status(device, end) == 1
    assert errno_of(lambda: device.read(IN, 512)) == errno.EPIPE
    end.clear_halt()
    assert usb.control.get_status(device, end) == 0
    assert errno_of(lambda: device.clear_halt(0x8F)) == errno.ENOENT


def test_standard_requests_tell_the_state(bus: VirtualBus) -> None:
    device = find(bus, bus.plug(LoopBack()))
    assert usb.control.get_status(device) == 1  # self-powered
    assert usb.control.get_configuration(device) == 1
    assert usb.control.get_interface(device, 0) == 0
    assert errno_of(lambda: usb.util.get_string(device, 77)) == errno.EPIPE
    assert errno_of(lambda: device.ctrl_transfer(0x00, 9, 2)) == errno.EPIPE
    with pytest.raises(usb.core.USBError):
        device.ctrl_transfer(0xC0, 99, 0, 0, 1)
    assert device.ctrl_transfer(0x82, 0, 0, 0, 2).tobytes() == b"\0\0"  # endpoint 0 is not halted
    qualifier = 6  # only devices that know another speed have one
    assert errno_of(lambda: usb.control.get_descriptor(device, 10, qualifier, 0)) == errno.EPIPE


def test_a_write_wakes_the_readers_of_what_it_brings(bus: VirtualBus) -> None:
    class Watched(LoopBack):
        def send(self, endpoint: int) -> bytes | None:
            packet = super().send(endpoint)
            asked[endpoint].set()
            return packet

    asked = {IN: threading.Event(), BELL: threading.Event()}
    device = find(bus, bus.plug(Watched()))
    device.get_active_configuration()
    got: dict[int, bytes] = {}

    def read(endpoint: int) -> None:
        got[endpoint] = device.read(endpoint, 512, 30_000).tobytes()

    readers = [threading.Thread(target=read, args=(endpoint,)) for endpoint in asked]
    for reader in readers:
        reader.start()
    for each in asked.values():
        each.wait()
    device.write(OUT, b"for both")
    for reader in readers:
        reader.join(5)  # both long before a reader that nobody wakes gives up
    assert got == {IN: b"for both", BELL: (8).to_bytes(4, "little")}


def test_readers_of_one_endpoint_are_served_in_turn_and_none_twice(bus: VirtualBus) -> None:
    firmware = LoopBack()
    device = find(bus, bus.plug(firmware))
    device.get_active_configuration()
    got: list[bytes] = []

    def read() -> None:
        got.extend(device.read(IN, 512, 10_000).tobytes() for _ in range(50))

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for number in range(100):
        firmware.say(b"%d" % number)
    for reader in readers:
        reader.join()
    assert sorted(got, key=int) == [b"%d" % number for number in range(100)]


def test_a_fault_of_the_firmware_reaches_the_test_and_the_next_transfer_is_free(
    bus: VirtualBus,
) -> None:
    class Broken(LoopBack):
        broken = True

        def send(self, endpoint: int) -> bytes | None:
            if self.broken:
                raise ZeroDivisionError
            return super().send(endpoint)

    firmware = Broken()
    device = find(bus, bus.plug(firmware))
    with pytest.raises(ZeroDivisionError):
        device.read(IN, 512, 100)
    firmware.broken = False
    device.write(OUT, b"x")
    assert device.read(IN, 512).tobytes() == b"x"


def test_a_broken_configuration_is_not_plugged_in(bus: VirtualBus) -> None:
    firmware = LoopBack()
    good = firmware.descriptors
    firmware.descriptors = UsbDescriptors(good.device, good.configuration[:-1])
    with pytest.raises(DescriptorError):
        bus.plug(firmware)
    assert usb.core.find(backend=bus.backend) is None


def test_alternate_settings_have_their_own_endpoints(bus: VirtualBus) -> None:
    firmware = LoopBack()
    ends = [descriptors.endpoint(IN, descriptors.BULK, 64)]
    firmware.descriptors = UsbDescriptors(
        firmware.descriptors.device,
        descriptors.configuration(
            descriptors.interface(0, (0xFF, 0, 0), []),
            descriptors.interface(0, (0xFF, 0, 0), ends, alternate=1),
        ),
    )
    device = find(bus, bus.plug(firmware))
    assert device.speed == usb.util.SPEED_FULL
    device.set_interface_altsetting(0, 1)
    assert usb.control.get_interface(device, 0) == 1
    firmware.say(b"alternate")
    assert device.read(IN, 64).tobytes() == b"alternate"
    usb.control.set_feature(device, usb.control.ENDPOINT_HALT, device[0][(0, 1)][0])
    device.set_interface_altsetting(0, 1)
    firmware.say(b"no halt survives a new setting")
    assert device.read(IN, 64)
    usb.util.release_interface(device, 0)
    device.set_configuration(1)
    assert usb.control.get_interface(device, 0) == 0


def test_a_handle_that_forgot_to_claim_claims_by_its_first_transfer(bus: VirtualBus) -> None:
    plugged = bus.plug(LoopBack())
    first, second = bus.backend.open_device(plugged), bus.backend.open_device(plugged)
    bus.backend.bulk_write(first, OUT, 0, array.array("B", b"x"), 1000)
    assert errno_of(lambda: bus.backend.claim_interface(second, 0)) == errno.EBUSY


def test_no_time_out_waits_for_ever(bus: VirtualBus) -> None:
    firmware = LoopBack()
    device = find(bus, bus.plug(firmware))
    later = threading.Timer(0.05, firmware.say, args=(b"at last",))
    later.start()
    assert device.read(IN, 512, 0).tobytes() == b"at last"
    later.join()


def test_an_unplugged_firmware_hears_nothing_more(bus: VirtualBus) -> None:
    class Deaf(LoopBack):
        offered = 0

        def receive(self, endpoint: int, data: bytes) -> None:
            self.offered += 1
            called.set()
            raise Nak

    called = threading.Event()
    firmware = Deaf()
    plugged = bus.plug(firmware)
    device = find(bus, plugged)
    got: list[int | None] = []
    writer = threading.Thread(
        target=lambda: got.append(errno_of(lambda: device.write(OUT, b"x", 10_000)))
    )
    writer.start()
    called.wait()
    bus.unplug(plugged)
    writer.join()
    assert (got, firmware.offered) == ([errno.ENODEV], 1)


def test_a_firmware_that_wakes_the_bus_without_end_still_times_out(bus: VirtualBus) -> None:
    class Restless(LoopBack):
        def attach(self, wake: Callable[[], None]) -> None:
            super().attach(wake)
            self.wake = wake

        def send(self, endpoint: int) -> bytes | None:
            self.wake()
            return super().send(endpoint)

    device = find(bus, bus.plug(Restless()))
    with pytest.raises(usb.core.USBTimeoutError):
        device.read(IN, 512, 50)
