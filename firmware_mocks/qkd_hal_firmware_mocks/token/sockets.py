"""Where a token's process has it plugged in: at a USB/IP server, or in a virtual reader."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from qkd_hal_firmware_mocks.token.vpcd import VpcdCard
from qkd_hal_firmware_mocks.usb.usbip import UsbIpServer

if TYPE_CHECKING:
    from qkd_hal_firmware_mocks.token.ccid import CcidToken
    from qkd_hal_firmware_mocks.token.mischief import FaultyCard

__all__ = ["OnUsbIp", "VirtualReader"]


class OnUsbIp(AbstractContextManager["OnUsbIp"]):
    """*device* at a USB/IP server on *port*; ``place`` is for the announcement."""

    def __init__(self, device: CcidToken, port: int) -> None:
        self._server = UsbIpServer(device, port=port)
        device.power_cut = self._server.unplug
        self.place = {"usbip": f"127.0.0.1:{self._server.port}"}

    def unplug(self) -> None:
        """Cut the kernel off."""
        self._server.unplug()

    def plug(self) -> None:
        """It can be attached again whenever its host likes."""

    def __exit__(self, *_: object) -> None:
        self._server.close()


class VirtualReader(AbstractContextManager["VirtualReader"]):
    """*card* in vsmartcard's reader at *port*; ``place`` is for the announcement.

    Raises:
        OSError: nobody listens there.
    """

    def __init__(self, card: FaultyCard, port: int) -> None:
        self._card, self._port = card, port
        self._inserted: VpcdCard | None = VpcdCard(card, port)
        self.place = {"vpcd": f"127.0.0.1:{port}"}

    def unplug(self) -> None:
        """Pull the card out."""
        inserted, self._inserted = self._inserted, None
        if inserted is not None:
            inserted.close()

    def plug(self) -> None:
        """Put it back."""
        if self._inserted is None:
            self._inserted = VpcdCard(self._card, self._port)

    def __exit__(self, *_: object) -> None:
        self.unplug()
