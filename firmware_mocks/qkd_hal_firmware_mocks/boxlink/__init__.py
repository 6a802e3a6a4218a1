"""A QKD box that speaks boxlink, the device's end, written from ``docs/boxlink.md`` alone."""

from __future__ import annotations

from qkd_hal_firmware_mocks.boxlink.box import BoxFirmware
from qkd_hal_firmware_mocks.boxlink.byte_line import BoxLine
from qkd_hal_firmware_mocks.boxlink.pair import BoxPair
from qkd_hal_firmware_mocks.boxlink.settings import BoxSettings
from qkd_hal_firmware_mocks.boxlink.usb import BoxUsb

__all__ = ["BoxFirmware", "BoxLine", "BoxPair", "BoxSettings", "BoxUsb"]
