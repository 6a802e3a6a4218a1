"""A QKD box that speaks boxlink, the device's end, written from ``docs/boxlink.md`` alone."""

from __future__ import annotations

from qkd_hal_firmware_mocks.boxlink.box import BoxFirmware
from qkd_hal_firmware_mocks.boxlink.byte_line import BoxLine
from qkd_hal_firmware_mocks.boxlink.pair import BoxPair, make_settings
from qkd_hal_firmware_mocks.boxlink.server import BOX_FAULTS
from qkd_hal_firmware_mocks.boxlink.settings import STREAM_CHUNK, USB_CHUNK, BoxSettings
from qkd_hal_firmware_mocks.boxlink.usb import USB_FAULTS, BoxUsb

__all__ = [
    "BOX_FAULTS",
    "STREAM_CHUNK",
    "USB_CHUNK",
    "USB_FAULTS",
    "BoxFirmware",
    "BoxLine",
    "BoxPair",
    "BoxSettings",
    "BoxUsb",
    "make_settings",
]
