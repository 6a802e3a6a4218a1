"""What a pool tells about itself; counts and names, never key bytes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["PoolStatus", "SpaceStatus"]


@dataclass(frozen=True, slots=True)
class SpaceStatus:
    """One link of a pool. Sizes in bytes.

    ``connected``: the peer was heard and the connection is up. ``available``: may still be
    leased for :meth:`reserve`; ``leased``: ready in memory; ``takeable``: what the peer may
    name to us. ``events``: the latest faults that the link survived.
    """

    peer: str
    connected: bool
    available: int
    leased: int
    takeable: int
    served: int
    taken: int
    refused: int
    blocks: int
    events: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PoolStatus:
    """A pool and its links."""

    site: str
    provenance: str
    spaces: tuple[SpaceStatus, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain types for ``json.dumps``."""
        return asdict(self)
