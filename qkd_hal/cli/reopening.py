"""A configured device as a key source that outlives the device."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from qkd_hal.device import DeviceKeySource, DeviceState
from qkd_hal.keys import Origin, Provenance

if TYPE_CHECKING:
    from qkd_hal.device import QKDDevice
    from qkd_hal.keys import KeyRef, QuantumKey
    from qkd_hal.sources import Reservation

__all__ = ["ReopeningSource"]


class ReopeningSource:
    """The device as a :class:`~qkd_hal.sources.KeySource`, opened when a key is first wanted.

    A pool serves what it has stored while its device is off; each call here tries the
    device again, and its error is the caller's to wait on.
    """

    def __init__(self, device: QKDDevice) -> None:
        self._device = device
        self._opening = threading.Lock()

    @property
    def provenance(self) -> Provenance:
        """The device's, or unknown while it was never reached."""
        if self._device.state in (DeviceState.READY, DeviceState.FAILED):
            return self._device.info.provenance
        return Provenance(Origin.UNKNOWN)

    def reserve(self, peer: str, size: int = 32) -> Reservation:
        """Reserve a fresh key at the device."""
        return self._opened().reserve(peer, size)

    def take(self, ref: KeyRef, size: int = 32) -> QuantumKey:
        """Look a key up at the device."""
        return self._opened().take(ref, size)

    def can_serve(self, peer: str, bits: int) -> bool:
        """Hint from the device; false while it was not reached."""
        return self._device.state is DeviceState.READY and self._opened().can_serve(peer, bits)

    def _opened(self) -> DeviceKeySource:
        with self._opening:
            if self._device.state is not DeviceState.READY:
                self._device.init()
            return DeviceKeySource(self._device)
