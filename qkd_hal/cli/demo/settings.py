"""What the demo is asked to show, and the sizes that follow from it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DEFAULT", "KEY_BYTES", "SHORT", "DemoSettings", "usual_length_km"]

KEY_BYTES = 32  # one TLS handshake takes a key of 256 bits
DEFAULT, SHORT = _USUAL = "default", "short"  # presets of the modems
_NEAR_KM, _FAR_KM = 5.0, 50.0
_TO_DRAIN = 16  # keys that are left, at least, to show what happens without any


@dataclass(frozen=True, slots=True)
class DemoSettings:
    """Choices of the command line."""

    preset: str
    megabytes: int
    length_km: float | None
    handshakes: int
    device: str | None = None
    peer_device: str | None = None

    @property
    def short(self) -> bool:
        """Whether the link is the one of small blocks of single photons."""
        return self.preset == SHORT

    @property
    def channel(self) -> tuple[str, ...]:
        """Options of both modems about the line; without a length, it is the preset's."""
        return () if self.length_km is None else ("--length-km", str(self.length_km))

    @property
    def patience(self) -> float:
        """Seconds for the first key: the blocks of real systems are large."""
        return 60.0 if self.preset in _USUAL else 180.0

    @property
    def block_size(self) -> int:
        """Bytes that a pool takes from its modem at once; some links make little key."""
        return 256 * KEY_BYTES if self.preset == DEFAULT else 8 * KEY_BYTES

    @property
    def stock(self) -> int:
        """Keys that alice's pool must hold when the modems go off: to time, then to drain."""
        return self.handshakes + _TO_DRAIN

    @property
    def pool_keys(self) -> int:
        """Up to how many keys a pool fills itself: some go before the modems do."""
        return self.stock + _TO_DRAIN


def usual_length_km(eve: str | None, preset: str) -> float | None:
    """Return the fibre of a demo with the attack *eve*, or none; None for the preset's own.

    Photon-number splitting pays where the fibre loses more than Eve has to block.
    """
    if preset not in _USUAL:
        return None
    far = eve is not None and eve.startswith("photon-number-splitting")
    return _FAR_KM if far else _NEAR_KM
