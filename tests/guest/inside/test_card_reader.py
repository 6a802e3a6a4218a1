"""The key token as a card reader on USB: pcscd, Debian's CCID driver and pyscard drive it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from qkd_hal_firmware_mocks.token.applet import KeyApplet
from qkd_hal_firmware_mocks.token.ccid import CcidToken
from qkd_hal_firmware_mocks.token.medium import MemoryMedium

if TYPE_CHECKING:
    from collections.abc import Callable

    from qkd_hal_firmware_mocks.usb.worlds import KernelWorld

    Wait = Callable[[Callable[[], object]], None]

SELECT = [0x00, 0xA4, 0x04, 0x00]
ABSENT_FILE = bytes.fromhex("A000000000")


@pytest.fixture
def readers(ccid_daemon: None) -> Callable[[], list[Any]]:
    smartcard = pytest.importorskip("smartcard.System", reason="pip install 'qkd-hal[pcsc]'")
    assert ccid_daemon is None
    return lambda: [each for each in smartcard.readers() if "QKD" in str(each)]


def is_there(connection: Any) -> bool:
    from smartcard.Exceptions import NoCardException

    try:
        connection.connect()
    except NoCardException:
        return False
    return True


def test_pcscd_reaches_the_applet_and_loses_it(
    usb_world: KernelWorld, readers: Callable[[], list[Any]], wait_for: Wait
) -> None:
    plugged = usb_world.plug(CcidToken(KeyApplet(MemoryMedium())))
    wait_for(readers)
    connection = readers()[0].createConnection()
    wait_for(lambda: is_there(connection))  # pcscd shows a reader before it has asked for a card
    data, first, second = connection.transmit([*SELECT, len(ABSENT_FILE), *ABSENT_FILE])
    assert (data, first, second) == ([], 0x6A, 0x82)
    connection.disconnect()
    usb_world.unplug(plugged)
    wait_for(lambda: not readers())
