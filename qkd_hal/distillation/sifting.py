"""Sifting: keep the detections whose two bases agree."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["KEY_BASIS", "TEST_BASIS", "EmissionLog", "Emitted", "Sifted", "sift", "sift_matching"]

KEY_BASIS = 0  # X
TEST_BASIS = 1  # Z


@dataclass(frozen=True, slots=True)
class Emitted:
    """States that were prepared: three uint8 arrays of one length.

    ``intensities`` holds the index k of the pulse's intensity, 0 for single photons.
    """

    bases: NDArray[np.uint8] = field(repr=False)
    bits: NDArray[np.uint8] = field(repr=False)
    intensities: NDArray[np.uint8] = field(repr=False)


class EmissionLog(Protocol):
    """The emitter's secret record of what it sent."""

    @property
    def end(self) -> int:
        """One past the last pulse that was emitted."""
        ...

    def states(self, pulses: NDArray[np.int64]) -> Emitted:
        """Return the states of *pulses*, strictly rising, none discarded, all below `end`."""
        ...

    def discard(self, before: int) -> None:
        """Forget all pulses below *before*."""
        ...


@dataclass(frozen=True, slots=True)
class Sifted:
    """One end's bits where the bases agree, with the intensity of each (uint8 arrays)."""

    key_bits: NDArray[np.uint8] = field(repr=False)
    key_intensities: NDArray[np.uint8] = field(repr=False)
    test_bits: NDArray[np.uint8] = field(repr=False)
    test_intensities: NDArray[np.uint8] = field(repr=False)

    def wipe(self) -> None:
        """Overwrite the key bits."""
        self.key_bits.fill(0)


def sift(
    bits: NDArray[np.uint8], bases: NDArray[np.uint8], intensities: NDArray[np.uint8]
) -> Sifted:
    """Part the matching detections of one end into key and test bits."""
    return sift_matching(bits, bases, np.ones(len(bits), bool), intensities)


def sift_matching(
    bits: NDArray[np.uint8],
    bases: NDArray[np.uint8],
    matches: NDArray[np.bool_],
    intensities: NDArray[np.uint8],
) -> Sifted:
    """Part the detections of one end where *matches* into key and test bits.

    *intensities* are those of the matches only, in their order.
    """
    key = matches & (bases == KEY_BASIS)
    test = matches & (bases == TEST_BASIS)
    if intensities.any():
        in_key = bases[matches] == KEY_BASIS
        levels = intensities[in_key], intensities[~in_key]
    else:  # ideal photons have one intensity: nothing to look up
        counts = np.count_nonzero(key), np.count_nonzero(test)
        levels = np.zeros(counts[0], np.uint8), np.zeros(counts[1], np.uint8)
    return Sifted(bits[key], levels[0], bits[test], levels[1])
