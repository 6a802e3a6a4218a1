"""The responder's opened ranges in memory: where ``take`` gets its bytes, each once."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING

from qkd_hal.keys import wipe
from qkd_hal.link import RangeSet

if TYPE_CHECKING:
    from qkd_hal.keys import Provenance
    from qkd_hal.link import BlockRecord

__all__ = ["Openings"]


@dataclass(slots=True)
class _Opened:
    provenance: Provenance
    ranges: RangeSet
    material: bytearray = field(repr=False)


class Openings:
    """What the owner has leased and we may still hand out; thread-safe.

    ``taken`` counts bytes handed out since opening.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._blocks: dict[int, _Opened] = {}
        self._closed = False
        self.taken = 0

    def open(self, block: BlockRecord, start: int, material: bytearray) -> None:
        """Let the bytes of *material*, at *start* of *block*, be taken."""
        with self._lock:
            opened = self._blocks.get(block.number)
            if opened is None:
                opened = _Opened(block.provenance, RangeSet(), bytearray(block.usable))
                self._blocks[block.number] = opened
            end = start + len(material)
            opened.ranges.add(start, end)
            opened.material[start:end] = material
        wipe(material)

    def take(self, number: int, start: int, size: int) -> tuple[bytearray, Provenance] | None:
        """Hand out ``[start, start + size)`` if all of it is open and none of it was taken."""
        with self._lock:
            opened = self._blocks.get(number)
            if opened is None or self._closed or not opened.ranges.remove(start, start + size):
                return None
            material = opened.material[start : start + size]
            opened.material[start : start + size] = bytes(size)
            self.taken += size
            return material, opened.provenance

    def shut(self, number: int, start: int) -> None:
        """Let nothing of the block be taken from *start* on."""
        with self._lock:
            opened = self._blocks.get(number)
            if opened is not None:
                opened.ranges.cut(start)
                wipe(memoryview(opened.material)[start:])

    def forget(self, number: int) -> None:
        """Wipe a block."""
        with self._lock:
            opened = self._blocks.pop(number, None)
            if opened is not None:
                wipe(opened.material)

    def burn(self) -> None:
        """Wipe everything that is open."""
        with self._lock:
            self._burn()

    def _burn(self) -> None:
        for opened in self._blocks.values():
            wipe(opened.material)
        self._blocks.clear()

    def open_bytes(self) -> int:
        """Return how many bytes may be taken."""
        with self._lock:
            return sum(opened.ranges.total for opened in self._blocks.values())

    def close(self) -> dict[int, tuple[tuple[int, int], ...]]:
        """Stop handing out for good; return what exactly remains, per block."""
        with self._lock:
            self._closed = True
            remains = {number: tuple(one.ranges) for number, one in self._blocks.items()}
            self._burn()
            return remains
