"""What a pool needs of a store: four calls, of which one writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qkd_hal.link import BlockRecord, Space, SpaceRecord
    from qkd_hal.link.effects import Change

__all__ = ["PoolStore"]


class PoolStore(Protocol):
    """Durable memory of one site. Every call raises :class:`StoreError` when it cannot be done.

    A store belongs to one pool of one process at a time; its calls may come from any thread.
    """

    def spaces(self) -> list[Space]:
        """Return the spaces that were ever written, in order."""
        ...

    def load(self, space: Space) -> tuple[SpaceRecord, list[BlockRecord]]:
        """Return what is remembered of *space*; an empty record when nothing is."""
        ...

    def read(self, space: Space, number: int, start: int, end: int) -> bytearray:
        """Return bytes ``[start, end)`` of a block."""
        ...

    def apply(self, space: Space, changes: Sequence[Change]) -> None:
        """Make all *changes* durable, or none: when this returns, a crash cannot undo them."""
        ...

    def close(self) -> None:
        """Release the store; idempotent."""
        ...
