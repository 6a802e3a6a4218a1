"""Cascade's variants: sizes of the blocks in each pass, and which to take when.

Larger blocks leak less and take more round trips.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["LOW_LEAK", "ORIGINAL", "QUICK", "YANETAL", "Variant", "choose"]

_LOWEST_QBER = 1e-4  # a block size for a key without a single test error
_LAST_BLOCK = 8192  # finds at little cost what two passes leave: a few pairs in a million bits


@dataclass(frozen=True, slots=True)
class Variant:
    """Block sizes by how many errors a block holds on average, pass by pass.

    ``whole``: sizes are those. Otherwise they are the next lower powers of two, since odd sizes
    do not halve evenly, and a last pass of large blocks follows.
    """

    name: str
    errors: tuple[float, ...]
    whole: bool = False

    def block_sizes(self, qber: float, bits: int) -> list[int]:
        """Return the sizes for a key of *bits* with this error rate."""
        rate = min(max(qber, _LOWEST_QBER), 0.5)
        sizes = [max(2, errors / rate) for errors in self.errors]
        if self.whole:
            wanted = [round(size) for size in sizes]
        else:
            wanted = [2 ** math.floor(math.log2(size)) for size in sizes]
            wanted.append(max(_LAST_BLOCK, 4 * wanted[-1]))
        half = max(1, -(-bits // 2))
        return [min(size, half) for size in wanted]


ORIGINAL = Variant("original", (0.73, 1.46, 2.92, 5.84), whole=True)
QUICK = Variant("quick", (1.03, 2.06))
YANETAL = Variant("yanetal", (1.6, 4.0))
LOW_LEAK = Variant("low-leak", (1.6, 16.0))


def choose(qber: float, bits: int, round_trip_seconds: float = 0.0) -> Variant:
    """Return a variant."""
    del qber, bits, round_trip_seconds
    return YANETAL
