"""A device as a source of keys, for devices that can offer a key before the peer appears."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qkd_hal.errors import KeyNotFoundError, QKDError, UnsupportedError
from qkd_hal.sources import Capability, Reservation

if TYPE_CHECKING:
    from qkd_hal.device.device import QKDDevice
    from qkd_hal.keys import KeyRef, Provenance, QuantumKey
    from qkd_hal.sources import DeviceStatus

__all__ = ["DeviceKeySource"]

_BITS_PER_STORED_KEY = 256  # DeviceStatus.stored_keys counts keys of this size


class DeviceKeySource:
    """A :class:`~qkd_hal.sources.KeySource` straight over an initialised device.

    Raises:
        UnsupportedError: the device cannot reserve ahead (a pool in front of it can), keeps
            its keys inside, or has no site name, without which no peer could tell whose key a
            reference names.
    """

    def __init__(self, device: QKDDevice) -> None:
        if Capability.RESERVE_AHEAD not in device.info.capabilities:
            what = "the device cannot offer a key before the peer appears"
            raise UnsupportedError(what, device=device.name, cure="Put a pool in front")
        if Capability.EXTRACT not in device.info.capabilities:
            # Found out later, each attempt would use up a key.
            what = "the keys of this device never leave it, and this needs their bytes"
            cure = "Use a session's derive(), or a device that lets keys out"
            raise UnsupportedError(what, device=device.name, cure=cure)
        if not device.info.site:
            # The peer would look for the owner "local", and a mirrored reference pass for its own.
            what = "the device does not say which site it belongs to"
            raise UnsupportedError(
                what, device=device.name, cure="Let its driver fill in DeviceInfo.site"
            )
        self._device = device

    @property
    def provenance(self) -> Provenance:
        """Where this device's keys come from."""
        return self._device.info.provenance

    def reserve(self, peer: str, size: int = 32) -> Reservation:
        """Reserve a fresh key; a device takes none back, so giving back burns it."""
        with self._device.start(peer, size=size) as session:
            session.connect()
            return Reservation(session.ref, session.get_key(size))

    def take(self, ref: KeyRef, size: int = 32) -> QuantumKey:
        """Hand out the key that *ref* names, once."""
        if ref.source == self._device.info.site:
            what = "the peer named a key that this site owns"
            raise KeyNotFoundError(what, device=self._device.name, key_id=ref.key_id)
        return self._device.get_key_by_id(ref.key_id, ref.source, size=size)

    def can_serve(self, peer: str, bits: int) -> bool:
        """Hint from the device's status; true where it cannot tell."""
        peers = self._device.info.peers
        if peers and peer not in peers:
            return False
        try:
            stored = _stored_bits(self._device.status())
        except QKDError:
            return False
        return stored is None or stored >= bits


def _stored_bits(status: DeviceStatus) -> int | None:
    if status.stored_bytes is not None:
        return status.stored_bytes * 8
    return None if status.stored_keys is None else status.stored_keys * _BITS_PER_STORED_KEY
