"""What all groups of checks stand on: the fixtures that give them devices."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, TypeAlias

import pytest

from qkd_hal.registry import open_device
from qkd_hal.testing.conformance._ends import End, Ends

if TYPE_CHECKING:
    from qkd_hal.device import QKDDevice

__all__ = ["Conformance", "Pair"]

Pair: TypeAlias = "tuple[QKDDevice, QKDDevice | None]"
"""Two open devices that share keys, or one and ``None``."""


class Conformance:
    """Fixtures and settings; each subclass in this package adds the checks of one subject."""

    serial_numbers: ClassVar[frozenset[str]] = frozenset()
    """The boxes that the checks may empty: any other is left alone."""

    patience: ClassVar[float] = 30.0
    """Seconds to wait for a device to make more key, or to come back after a loss."""

    at_once: ClassVar[float] = 2.0
    """Seconds in which a call without time has to end, and a woken one to wake."""

    @pytest.fixture
    def pair(self) -> Pair:
        """Give two open devices that share keys; a subclass overrides this.

        They are opened for each check anew, which may close them.
        """
        raise NotImplementedError("override the fixture 'pair'")

    def reopen(self, device: QKDDevice) -> QKDDevice:
        """Return another device, not yet initialised, on the box behind *device*.

        For devices that were opened by URL or by name; others override it.
        """
        return open_device(device.name)

    @pytest.fixture
    def devices(self, pair: Pair) -> list[QKDDevice]:
        """Give the one or two devices, once they are known to be boxes that may be used."""
        devices = [device for device in pair if device is not None]
        for device in devices:
            number = device.info.serial_number
            if number not in self.serial_numbers:
                pytest.fail(
                    f"serial number {number!r} is not in {type(self).__name__}.serial_numbers"
                )
        return devices

    @pytest.fixture
    def end(self, devices: list[QKDDevice]) -> End:
        """Give the first device alone."""
        return End(devices[0], devices[1] if len(devices) > 1 else None, self.patience)

    @pytest.fixture
    def ends(self, devices: list[QKDDevice]) -> Ends:
        """Give both devices."""
        if len(devices) < 2:
            pytest.skip("needs --peer: the device at the other end")
        first, second = devices
        return Ends(End(first, second, self.patience), End(second, first, self.patience))
