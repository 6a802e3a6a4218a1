"""Which keys a token is known to hold, without searching it for every call."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
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
    a later :meth:`refresh` leaves out. ``peer_keys``: how many the peers may still name.
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
        self.refresh(found)

    @property
    def stale(self) -> bool:
        """Whether another process may have changed much meanwhile."""
        return self._fresh.expired

    def refresh(self, keys: Iterable[TokenKey]) -> None:
        """Replace what is known of the token's content.

        Of two objects under one ID each could be taken out once, by two processes, so that
        neither is served.
        """
        found = list(keys)
        objects = Counter(key.key_id for key in found)
        self._own: defaultdict[tuple[str, int], deque[TokenKey]] = defaultdict(deque)
        self.peer_keys = 0
        for key in filter(self.serves, found):
            if objects[key.key_id] > 1:
                continue
            if key.label.own:
                self._own[key.label.peer, key.size].append(key)
            else:
                self.peer_keys += 1
        self._fresh = Deadline(_FRESH_SECONDS)

    def serves(self, key: TokenKey) -> bool:
        """Tell whether *key* is what the device said at opening that its keys are."""
        same = key.label.site == self.site and key.label.peer in self.peers
        known = self.provenance.combined(key.label.provenance) == self.provenance
        return same and known and (key.derives if self.inside else key.readable)

    def own_keys(self, peer: str, size: int) -> int:
        """Count the keys of *size* bytes that this end may start sessions with *peer* with."""
        return len(self._own[peer, size])

    def pop(self, peer: str, size: int) -> TokenKey:
        """Return one of them, and forget it."""
        return self._own[peer, size].popleft()

    def own_sizes(self) -> Counter[int]:
        """Count the own keys by size in bytes."""
        sizes: Counter[int] = Counter()
        for (_, size), keys in self._own.items():
            sizes[size] += len(keys)
        return +sizes


def _combined(labels: list[KeyLabel]) -> Provenance:
    if not labels:
        return Provenance(Origin.UNKNOWN)
    whole = labels[0].provenance
    for label in labels[1:]:
        whole = whole.combined(label.provenance)
    return whole
