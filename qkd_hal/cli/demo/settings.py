"""What the demo is asked to show, and the sizes that follow from it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["KEY_BYTES", "DemoSettings", "usual_length_km"]

KEY_BYTES = 32  # one TLS handshake takes a key of 256 bits
_NEAR_KM, _FAR_KM = 5.0, 50.0
_TO_DRAIN = 16  # keys that are left, at least, to show what happens without any


@dataclass(frozen=True, slots=True)
class DemoSettings:
    """Choices of the command line."""

    short: bool
    megabytes: int
    length_km: float
    handshakes: int
    device: str | None = None
    peer_device: str | None = None

    @property
    def preset(self) -> str:
        """The modem's preset: small blocks of single photons, or the realistic default."""
        return "short" if self.short else "default"

    @property
    def block_size(self) -> int:
        """Bytes that a pool takes from its modem at once; a short link makes little key."""
        return 8 * KEY_BYTES if self.short else 256 * KEY_BYTES

    @property
    def stock(self) -> int:
        """Keys that alice's pool must hold when the modems go off: to time, then to drain."""
        return self.handshakes + _TO_DRAIN

    @property
    def pool_keys(self) -> int:
        """Up to how many keys a pool fills itself: some go before the modems do."""
        return self.stock + _TO_DRAIN


def usual_length_km(eve: str | None) -> float:
    """Return the fibre of a demo with the attack *eve*, or none.

    Photon-number splitting pays where the fibre loses more than Eve has to block.
    """
    far = eve is not None and eve.startswith("photon-number-splitting")
    return _FAR_KM if far else _NEAR_KM
