"""The requests that every USB device answers alike (USB 2.0, section 9.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qkd_hal_firmware_mocks.usb.descriptors import parse
from qkd_hal_firmware_mocks.usb.function import Stall

if TYPE_CHECKING:
    from qkd_hal_firmware_mocks.usb.function import Setup, UsbFunction

__all__ = ["StandardRequests"]

_TYPE_MASK, _RECIPIENT_MASK = 0x60, 0x1F
_ON_ENDPOINT = 2
_ENDPOINT_HALT = 0
_DEVICE, _CONFIGURATION, _STRING = 1, 2, 3
_ENGLISH = bytes([4, _STRING, 0x09, 0x04])


class StandardRequests:
    """A device's answers to the host, and what they change: configuration, alternate
    settings and halted endpoints."""

    def __init__(self, function: UsbFunction) -> None:
        self._function = function
        self.interfaces = parse(function.descriptors.configuration)
        self.configuration = 0
        self.alternates: dict[int, int] = {}
        self.halted: set[int] = set()
        self.packet_sizes = self._packet_sizes()
        self._hooks = {
            0: self._get_status,
            1: self._clear_feature,
            3: self._set_feature,
            5: self._set_address,
            6: self._get_descriptor,
            8: self._get_configuration,
            9: self._set_configuration,
            10: self._get_interface,
            11: self._set_interface,
        }

    def reset(self) -> None:
        """Take a bus reset or a new configuration."""
        self.alternates.clear()
        self.halted.clear()
        self.packet_sizes = self._packet_sizes()
        self._function.reset()

    def _packet_sizes(self) -> dict[int, int]:
        """Endpoint → ``wMaxPacketSize``, for the alternate settings that are active."""
        return {
            each.address: each.max_packet & 0x7FF
            for interface in self.interfaces
            if interface.alternate == self.alternates.get(interface.number, 0)
            for each in interface.endpoints
        }

    def answer(self, setup: Setup, data: bytes) -> bytes:
        """Answer any request; class and vendor requests go to the function.

        Raises:
            Stall: the device does not know the request.
            Nak: the function has no answer yet.
        """
        if setup.request_type & _TYPE_MASK:
            return self._function.control(setup, data)
        hook = self._hooks.get(setup.request)
        if hook is None:
            raise Stall
        return hook(setup)

    def _get_status(self, setup: Setup) -> bytes:
        recipient = setup.request_type & _RECIPIENT_MASK
        if recipient == _ON_ENDPOINT:
            return bytes([setup.index in self.halted, 0])
        return b"\1\0" if recipient == 0 else b"\0\0"

    def _clear_feature(self, setup: Setup) -> bytes:
        self.halted.discard(self._halt_of(setup))
        return b""

    def _set_feature(self, setup: Setup) -> bytes:
        self.halted.add(self._halt_of(setup))
        return b""

    def _halt_of(self, setup: Setup) -> int:
        on_endpoint = setup.request_type & _RECIPIENT_MASK == _ON_ENDPOINT
        if not on_endpoint or setup.value != _ENDPOINT_HALT:
            raise Stall
        if setup.index not in self.packet_sizes:
            raise Stall
        return setup.index

    def _set_address(self, _: Setup) -> bytes:
        return b""

    def _get_descriptor(self, setup: Setup) -> bytes:
        kind, index = divmod(setup.value, 256)
        descriptors = self._function.descriptors
        if kind == _STRING:
            return self._string(index)
        if index or kind not in (_DEVICE, _CONFIGURATION):
            raise Stall
        return descriptors.device if kind == _DEVICE else descriptors.configuration

    def _string(self, index: int) -> bytes:
        if index == 0:
            return _ENGLISH
        text = self._function.descriptors.strings.get(index)
        if text is None:
            raise Stall
        units = text.encode("utf-16-le")
        return bytes([2 + len(units), _STRING]) + units

    def _get_configuration(self, _: Setup) -> bytes:
        return bytes([self.configuration])

    def _set_configuration(self, setup: Setup) -> bytes:
        if setup.value > 1:
            raise Stall
        self.configuration = setup.value
        self.reset()
        return b""

    def _get_interface(self, setup: Setup) -> bytes:
        return bytes([self.alternates.get(setup.index, 0)])

    def _set_interface(self, setup: Setup) -> bytes:
        known = {(each.number, each.alternate): each for each in self.interfaces}
        chosen = known.get((setup.index, setup.value))
        if chosen is None:
            raise Stall
        self.alternates[setup.index] = setup.value
        self.packet_sizes = self._packet_sizes()
        self.halted -= {each.address for each in chosen.endpoints}
        return b""
