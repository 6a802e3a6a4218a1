"""The owner's leases in memory: where ``reserve`` gets its bytes, without any I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING

from qkd_hal.keys import wipe

if TYPE_CHECKING:
    from qkd_hal.keys import Provenance

__all__ = ["Allocation", "Leases"]

CRUMB = 64  # bytes; a shorter rest of a block is burned once a key did not fit into it


@dataclass(slots=True)
class _Lease:
    number: int
    provenance: Provenance
    base: int
    next: int
    end: int
    buffer: bytearray = field(repr=False)

    @property
    def room(self) -> int:
        """Bytes still to be handed out."""
        return self.end - self.next

    def extend(self, material: bytearray) -> None:
        """Join the range that follows, so that a key may lie across the two."""
        joined = self.buffer[self.next - self.base :] + material
        wipe(self.buffer)
        wipe(material)
        self.base, self.end, self.buffer = self.next, self.next + len(joined), joined


@dataclass(frozen=True, slots=True)
class Allocation:
    """Bytes that were served: their place, and the generation of leases that they came from."""

    number: int
    start: int
    size: int
    material: bytearray = field(repr=False)
    provenance: Provenance
    generation: int


class Leases:
    """Ranges that the peer has opened for us; every byte is handed out at most once.

    Thread-safe. ``served`` counts bytes handed out since opening.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._live: list[_Lease] = []
        self._unserved: dict[int, int] = {}  # block → first byte never handed out
        self._closed = False
        self.generation = 0
        self.served = 0
        self.room = 0  # bytes ready to be handed out

    def grant(self, number: int, start: int, material: bytearray, provenance: Provenance) -> None:
        """Add the range of *material* at *start*; after :meth:`close` it is burned."""
        with self._lock:
            if self._closed:
                wipe(material)
                return
            self._unserved.setdefault(number, start)
            self.room += len(material)
            for lease in self._live:
                if lease.number == number and lease.end == start:
                    lease.extend(material)
                    return
            end = start + len(material)
            self._live.append(_Lease(number, provenance, start, start, end, material))

    def regrant(self, allocation: Allocation, material: bytearray) -> None:
        """Put back an allocation that was never used, unless its lease was burned since."""
        with self._lock:
            if self._closed or allocation.generation != self.generation:
                wipe(material)
                return
            start = allocation.start
            end = start + len(material)
            lease = _Lease(allocation.number, allocation.provenance, start, start, end, material)
            self._live.insert(0, lease)
            self.room += len(material)

    def allocate(self, size: int) -> Allocation | None:
        """Hand out *size* contiguous bytes, or ``None`` when no lease has them."""
        with self._lock:
            for at, lease in enumerate(self._live):
                if lease.room >= size:
                    self._sweep(at)
                    return self._carve(lease, size)
        return None

    def _sweep(self, passed: int) -> None:
        """Burn the crumbs among the first *passed* leases, so that their blocks can end."""
        for lease in [one for one in self._live[:passed] if one.room < CRUMB]:
            self._discard(lease)

    def _carve(self, lease: _Lease, size: int) -> Allocation:
        start = lease.next
        at = start - lease.base
        material = lease.buffer[at : at + size]
        lease.buffer[at : at + size] = bytes(size)
        lease.next = start + size
        self._unserved[lease.number] = max(lease.next, self._unserved[lease.number])
        self.served += size
        self.room -= size
        if lease.room == 0:
            self._discard(lease)
        return Allocation(lease.number, start, size, material, lease.provenance, self.generation)

    def _discard(self, lease: _Lease) -> None:
        self.room -= lease.room
        wipe(lease.buffer)
        self._live.remove(lease)

    def fits(self, size: int) -> bool:
        """Tell whether some lease has *size* contiguous bytes."""
        with self._lock:
            return any(lease.room >= size for lease in self._live)

    def forget(self, number: int) -> None:
        """Hand out nothing more of a block: the peer does not have it."""
        with self._lock:
            for lease in [one for one in self._live if one.number == number]:
                self._discard(lease)

    def busy(self) -> set[int]:
        """Return the blocks that still have bytes to hand out."""
        with self._lock:
            return {lease.number for lease in self._live}

    def burn(self) -> None:
        """Hand out nothing of what was granted so far, and give none of it back either.

        We may be the end that was rolled back: what we take for unserved, we may have served.
        """
        with self._lock:
            self._burn()
            self._unserved.clear()

    def _burn(self) -> None:
        self.generation += 1
        for lease in list(self._live):
            self._discard(lease)

    def close(self) -> dict[int, int]:
        """Stop for good; return, per block, from which byte on nothing was handed out."""
        with self._lock:
            self._closed = True
            self._burn()
            return dict(self._unserved)
