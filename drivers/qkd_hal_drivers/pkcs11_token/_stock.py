"""Which keys a token is known to hold, without searching it for every call."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from qkd_hal.errors import ProtocolError
from qkd_hal.keys import Origin, Provenance
from qkd_hal.sources import Deadline

if TYPE_CHECKING:
    from collections.abc import Iterable

    from qkd_hal_drivers.pkcs11_token._label import KeyLabel
    from qkd_hal_drivers.pkcs11_token._objects import TokenKey

__all__ = ["Stock"]

_FRESH_SECONDS = 2.0  # how old a count may be of what other processes have taken meanwhile


class Stock:
    """The keys of one token as of the first search, and what later ones may add.

    Identity is fixed when the token is opened: ``site``, ``provenance``, and ``inside``,
    whether keys stay in the token, which one sensitive key is enough for. What does not fit,
    a later :meth:`refresh` leaves out.
    """

    def __init__(self, keys: Iterable[TokenKey], device: str) -> None:
        found = list(keys)
        sites = sorted({key.label.site for key in found})
        if len(sites) > 1:
            what = f"the token holds keys of several sites: {', '.join(sites)}"
            cure = "Give each site a token of its own"
            raise ProtocolError(what, device=device, cure=cure)
        self.site = sites[0] if sites else ""
        self.peers = tuple(sorted({key.label.peer for key in found}))
        self.provenance = _combined([key.label for key in found])
        self.inside = not all(key.readable for key in found)
        self._own: list[TokenKey] = []
        self._peer_keys = 0
        self.refresh(found)

    @property
    def stale(self) -> bool:
        """Whether another process may have changed much meanwhile."""
        return self._fresh.expired

    def refresh(self, keys: Iterable[TokenKey]) -> None:
        """Replace what is known of the token's content."""
        fit = [key for key in keys if self.serves(key)]
        self._own = [key for key in fit if key.label.own]
        self._peer_keys = len(fit) - len(self._own)
        self._fresh = Deadline(_FRESH_SECONDS)

    def serves(self, key: TokenKey) -> bool:
        """Tell whether *key* is what the device said at opening that its keys are."""
        same = key.label.site == self.site and key.label.peer in self.peers
        known = self.provenance.combined(key.label.provenance) == self.provenance
        return same and known and (key.derives if self.inside else key.readable)

    def own(self, peer: str, size: int) -> list[TokenKey]:
        """Return the keys of *size* bytes that this end may start sessions with *peer* with."""
        return [key for key in self._own if (key.label.peer, key.size) == (peer, size)]

    def strike(self, key: TokenKey) -> None:
        """Forget *key*: it was taken."""
        self._own.remove(key)

    def own_sizes(self) -> Counter[int]:
        """Count the own keys by size in bytes."""
        return Counter(key.size for key in self._own)

    @property
    def peer_keys(self) -> int:
        """How many keys the peers may still start sessions with."""
        return self._peer_keys


def _combined(labels: list[KeyLabel]) -> Provenance:
    if not labels:
        return Provenance(Origin.UNKNOWN)
    whole = labels[0].provenance
    for label in labels[1:]:
        whole = whole.combined(label.provenance)
    return whole
