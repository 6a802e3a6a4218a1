"""A store that ends with its process: for tests, for demonstrations, and for hot spares."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

from qkd_hal.errors import StoreError
from qkd_hal.keys import wipe
from qkd_hal.link import SpaceRecord
from qkd_hal.link.effects import Change, DropBlock, EraseMaterial, PutBlock, PutSpace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qkd_hal.link import BlockRecord, Space

__all__ = ["MemoryStore"]


class MemoryStore:
    """Keeps everything in this process and wipes it at :meth:`close`."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._records: dict[Space, SpaceRecord] = {}
        self._blocks: dict[Space, dict[int, BlockRecord]] = {}
        self._material: dict[tuple[Space, int], bytearray] = {}

    def spaces(self) -> list[Space]:
        """Return the spaces that were ever written, in order."""
        with self._lock:
            return sorted({*self._records, *self._blocks})

    def load(self, space: Space) -> tuple[SpaceRecord, list[BlockRecord]]:
        """Return what is remembered of *space*."""
        with self._lock:
            blocks = self._blocks.get(space, {})
            return self._records.get(space, SpaceRecord()), list(blocks.values())

    def read(self, space: Space, number: int, start: int, end: int) -> bytearray:
        """Return bytes ``[start, end)`` of a block."""
        with self._lock:
            material = self._material.get((space, number), bytearray())
            if not 0 <= start < end <= len(material):
                raise StoreError(f"bytes {start} to {end} of block {number} of {space} are gone")
            return material[start:end]

    def apply(self, space: Space, changes: Sequence[Change]) -> None:
        """Make all *changes*; memory is as durable as this store claims to be."""
        with self._lock:
            for change in changes:
                self._apply(space, change)

    def _apply(self, space: Space, change: Change) -> None:
        blocks = self._blocks.setdefault(space, {})
        match change:
            case PutSpace(record):
                self._records[space] = record
            case PutBlock(record, material):
                blocks[record.number] = record
                if material is not None:
                    self._material[space, record.number] = bytearray(material)
            case DropBlock(number):
                blocks.pop(number, None)
                self._erase(space, number)
            case EraseMaterial(number):
                self._erase(space, number)

    def _erase(self, space: Space, number: int) -> None:
        wipe(self._material.pop((space, number), bytearray()))

    def close(self) -> None:
        """Wipe all key material."""
        with self._lock:
            for material in self._material.values():
                wipe(material)
            self._material.clear()
            self._blocks.clear()
