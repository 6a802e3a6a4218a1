"""A serial firmware as ``/dev/ttyACM0``, driven by the kernel's cdc-acm and by pyserial."""

from __future__ import annotations

import errno
import threading
from typing import TYPE_CHECKING, Any

import pytest
import serial
import serial.tools.list_ports
import usb.core
import usb.util

from qkd_hal_firmware_mocks.usb.cdc_acm import CdcAcm, LineCoding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qkd_hal_firmware_mocks.usb.virtual_bus import Plugged
    from qkd_hal_firmware_mocks.usb.worlds import UsbWorld

    Wait = Callable[[Callable[[], object]], None]


class Echo:
    """Says what it hears."""

    def __init__(self) -> None:
        self.hang_ups = 0

    def attach(self, send: Callable[[bytes], None]) -> None:
        self.send = send

    def feed(self, data: bytes) -> None:
        self.send(data)

    def hang_up(self) -> None:
        self.hang_ups += 1


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
def firmware(echo: Echo) -> CdcAcm:
    return CdcAcm(echo, names=("qkd-hal", "serial box", "ACM-7"), interface="boxlink test")


@pytest.fixture
def plugged(usb_world: UsbWorld, firmware: CdcAcm) -> Plugged:
    return usb_world.plug(firmware)


@pytest.fixture
def path(plugged: Plugged, wait_for: Wait) -> str:
    assert plugged.address
    wait_for(ports)
    return str(ports()[0].device)


@pytest.fixture
def port(path: str) -> Iterator[serial.Serial]:
    opened = serial.Serial(path, baudrate=115200, timeout=10)
    yield opened
    opened.close()


def ports() -> list[Any]:
    return [each for each in serial.tools.list_ports.comports() if each.vid == 0x1209]


def test_the_port_is_listed_with_its_identity(path: str) -> None:
    (listed,) = ports()
    assert (listed.vid, listed.pid, listed.serial_number) == (0x1209, 0x0002, "ACM-7")
    assert (listed.manufacturer, listed.product) == ("qkd-hal", "serial box")
    assert listed.interface == "boxlink test"
    assert path.startswith("/dev/ttyACM")


def test_bytes_come_back(port: serial.Serial) -> None:
    # Within what the kernel buffers for a reader, since nothing reads while this writes.
    message = bytes(range(256)) * 12
    port.write(message)
    assert port.read(len(message)) == message


def test_many_bytes_come_back_in_order(port: serial.Serial) -> None:
    message = bytes(i * 7 % 251 for i in range(40_000))
    writer = threading.Thread(target=port.write, args=(message,))
    writer.start()
    assert port.read(len(message)) == message
    writer.join()


def test_settings_reach_the_firmware(port: serial.Serial, firmware: CdcAcm, wait_for: Wait) -> None:
    port.baudrate = 921600
    port.parity, port.stopbits, port.bytesize = serial.PARITY_EVEN, serial.STOPBITS_TWO, 7
    wait_for(lambda: firmware.line_coding == LineCoding(921600, 2, 2, 7))


def test_lines_and_break_reach_the_firmware(
    port: serial.Serial, firmware: CdcAcm, echo: Echo, wait_for: Wait
) -> None:
    wait_for(lambda: firmware.dtr and firmware.rts)
    port.rts = False
    wait_for(lambda: firmware.dtr and not firmware.rts)
    before = echo.hang_ups
    port.send_break(0.05)
    wait_for(lambda: firmware.breaks)
    assert echo.hang_ups == before + 1


def test_closing_the_port_hangs_up(port: serial.Serial, firmware: CdcAcm, echo: Echo) -> None:
    before = echo.hang_ups
    port.close()
    assert not firmware.dtr
    assert echo.hang_ups == before + 1


def test_unplugging_ends_a_read_that_waits(
    usb_world: UsbWorld, plugged: Plugged, port: serial.Serial
) -> None:
    later = threading.Timer(0.2, usb_world.unplug, args=(plugged,))
    later.start()
    with pytest.raises(serial.SerialException):
        port.read(1)
    later.join()
    with pytest.raises(OSError, match=str(errno.EIO)):
        port.write(b"lost")


def test_the_kernels_driver_holds_the_interface_until_it_is_detached(
    usb_world: UsbWorld, plugged: Plugged, path: str
) -> None:
    assert path
    place = {"bus": plugged.bus, "address": plugged.address}
    device = usb.core.find(backend=usb_world.backend, **place)
    assert device.is_kernel_driver_active(1)
    with pytest.raises(usb.core.USBError) as caught:
        usb.util.claim_interface(device, 1)
    assert caught.value.errno == errno.EBUSY
    device.detach_kernel_driver(1)
    usb.util.claim_interface(device, 1)
    device.write(0x01, b"raw", 5000)
    assert device.read(0x81, 512, 5000).tobytes() == b"raw"
    usb.util.dispose_resources(device)
