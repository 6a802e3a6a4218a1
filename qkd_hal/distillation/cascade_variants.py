"""Cascade's variants: sizes of the blocks in each pass, and which to take when.

Larger blocks leak less and take more round trips.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["LOW_LEAK", "ORIGINAL", "QUICK", "YANETAL", "Variant", "choose"]

_LOWEST_QBER = 1e-4  # a block size for a key without a single test error
_LAST_BLOCK = 8192  # finds at little cost what two passes leave: a few pairs in a million bits
_LOW_LEAK_QBER = 0.08
_PATIENCE_SECONDS = 0.1
_PATIENCE_SECONDS_PER_BIT = 2e-6


@dataclass(frozen=True, slots=True)
class Variant:
    """Block sizes by how many errors a block holds on average, pass by pass.

    ``round_trips``: about how many a million bits take. ``whole``: sizes are just that.
    Otherwise they are the next lower powers of two, since odd sizes do not halve evenly, and a
    last pass of large blocks follows.
    """

    name: str
    errors: tuple[float, ...]
    round_trips: int
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


# Brassard and Salvail (1993). It leaks twice as much beyond Shannon's limit as QUICK, which takes
# as few round trips: kept to compare with the literature.
ORIGINAL = Variant("original", (0.73, 1.46, 2.92, 5.84), 80, whole=True)
QUICK = Variant("quick", (1.03, 2.06), 90)
# In the manner of Yan et al. (2008) and of "option 8" of Martinez-Mateo et al. (2015); sizes
# are the best of a search for leak against round trips, QBER 0.5 to 12 %.
YANETAL = Variant("yanetal", (1.6, 4.0), 280)
LOW_LEAK = Variant("low-leak", (1.6, 16.0), 1800)


def choose(qber: float, bits: int, round_trip_seconds: float = 0.0) -> Variant:
    """Return the variant for a key of *bits* at this error rate over this link.

    The one that leaks least and does not wait for long: not for 0.1 s, or not for 2 us per key bit,
    with which two dozen blocks under way still make 12 Mbit/s. LOW_LEAK only from 8 % on, where
    the percent of leak that it saves is several percent of the secret key.
    """
    patience = max(_PATIENCE_SECONDS, _PATIENCE_SECONDS_PER_BIT * bits)
    for variant in (LOW_LEAK, YANETAL):
        pays = variant is not LOW_LEAK or qber >= _LOW_LEAK_QBER
        if pays and variant.round_trips * round_trip_seconds <= patience:
            return variant
    return QUICK
