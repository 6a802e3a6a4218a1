"""What protects a connection, and why: a field of every connection, never a guess."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qkd_hal.tls.groups import kind_of_group

if TYPE_CHECKING:
    from qkd_hal.keys import KeyRef, Provenance

__all__ = ["Protection"]


@dataclass(frozen=True, slots=True)
class Protection:
    """What a finished handshake agreed on, as OpenSSL and the key source report it.

    ``psk_used``: the peer proved that it holds the pre-shared key. ``key_ref`` and
    ``provenance``: the quantum key that was put in, ``None`` if there was none.
    """

    version: str
    cipher: str
    group: str
    psk_used: bool
    key_ref: KeyRef | None
    provenance: Provenance | None

    @property
    def mode(self) -> str:
        """``quantum+hybrid``, ``quantum+classical``, … ; without ``quantum`` if no key was used."""
        kind = kind_of_group(self.group)
        return f"quantum+{kind}" if self.psk_used and self.key_ref else kind

    @property
    def simulated(self) -> bool:
        """True when the quantum key came from a simulator: fit for tests, not for secrets."""
        return self.provenance is not None and self.provenance.simulated

    @property
    def reason(self) -> str:
        """One sentence for people: why the connection is protected as it is."""
        if not (self.psk_used and self.key_ref):
            return f"no quantum key was used, only {self.group}"
        return f"quantum key {self.key_ref} ({self.provenance}) together with {self.group}"

    def to_json(self) -> dict[str, str | bool | None]:
        """Return the fields that ``--json`` commands print."""
        return {
            "version": self.version,
            "cipher": self.cipher,
            "group": self.group,
            "protection": self.mode,
            "psk_used": self.psk_used,
            "key_ref": str(self.key_ref) if self.key_ref else None,
            "provenance": str(self.provenance) if self.provenance else None,
            "simulated": self.simulated,
        }
