"""How much Eve knows of a sifted key, by the measures that key rates are written in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Knowledge"]


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What Eve knows of *bits* sifted key bits, before error correction tells everybody more.

    ``known``: bits that she is sure of. ``guessed``: others that she guesses better than by
    tossing a coin, ``expected_right`` of them rightly on average. ``shannon_bits``: mutual
    information, the sum of 1 - h(p) over all bits that she guesses with probability p.
    ``min_entropy_bits``: what the key's min-entropy has lost, the sum of 1 + log2(p).
    """

    bits: int = 0
    known: int = 0
    guessed: int = 0
    expected_right: float = 0.0
    shannon_bits: float = 0.0
    min_entropy_bits: float = 0.0

    @classmethod
    def of(cls, certainties: NDArray[np.float64]) -> Knowledge:
        """Sum up bits that Eve guesses rightly with these probabilities, 0.5 to 1 each."""
        sure = certainties >= 1
        better = certainties[~sure & (certainties > 0.5)]
        return cls(
            bits=certainties.size,
            known=int(sure.sum()),
            guessed=better.size,
            expected_right=float(better.sum()),
            shannon_bits=float(sure.sum() + (1 - _binary_entropy(better)).sum()),
            min_entropy_bits=float(sure.sum() + (1 + np.log2(better)).sum()),
        )

    @property
    def guess_probability(self) -> float | None:
        """How often a guess is right; ``None`` without guesses."""
        return self.expected_right / self.guessed if self.guessed else None

    def __add__(self, other: Knowledge) -> Knowledge:
        return Knowledge(
            self.bits + other.bits,
            self.known + other.known,
            self.guessed + other.guessed,
            self.expected_right + other.expected_right,
            self.shannon_bits + other.shannon_bits,
            self.min_entropy_bits + other.min_entropy_bits,
        )

    def to_json(self) -> dict[str, int | float | None]:
        """Return a flat object of plain numbers."""
        return {
            "sifted_bits": self.bits,
            "known_bits": self.known,
            "guessed_bits": self.guessed,
            "guess_probability": self.guess_probability,
            "shannon_bits": round(self.shannon_bits, 3),
            "min_entropy_bits": round(self.min_entropy_bits, 3),
        }


def _binary_entropy(p: NDArray[np.float64]) -> NDArray[np.float64]:
    # Strictly between 0 and 1 here: no logarithm of zero.
    entropy: NDArray[np.float64] = -p * np.log2(p) - (1 - p) * np.log2(1 - p)
    return entropy
