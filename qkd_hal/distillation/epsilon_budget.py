"""What a block's security parameter is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qkd_hal.distillation.parameters import DistillationParameters, Source

__all__ = ["EpsilonBudget", "epsilon_budget"]

# Parts of eps_sec, as the three proofs split it: decoy statistics, smoothing, amplification.
_PARTS: dict[Source, tuple[int, int, int]] = {
    "wcp": (12, 8, 1),  # 10 eps1 + 2 eps2 | 2 (2 a1 + a2 + a3) | nu, Lim 2014
    "wcp-1-decoy": (10, 8, 1),  # 6 eps1 + 4 eps2 | 2 (a1 + 2 a2 + a3) | nu, Rusca 2018
    "single-photon": (0, 1, 1),  # - | 2 eps_pe | eps_pa, Tomamichel and Leverrier 2017
}


@dataclass(frozen=True, slots=True)
class EpsilonBudget:
    """Each term's share of a block's epsilon; epsilons of blocks add up.

    ``statistics``: that the decoy counts mislead; ``smoothing``: that the test sample does,
    and what the entropy bound gives away; ``amplification``: distance from a uniform key.
    ``correctness``: that the two keys differ. ``authentication``: that a tag was forged.
    """

    statistics: float
    smoothing: float
    amplification: float
    correctness: float
    authentication: float

    @property
    def secrecy(self) -> float:
        """The first three, which make up eps_sec."""
        return self.statistics + self.smoothing + self.amplification

    @property
    def total(self) -> float:
        """The composable security parameter of the block."""
        return self.secrecy + self.correctness + self.authentication


def epsilon_budget(parameters: DistillationParameters, forgery_bound: float) -> EpsilonBudget:
    """Return the budget of a block of these *parameters*."""
    parts = _PARTS[parameters.source]
    statistics, smoothing, amplification = (parameters.eps_sec * x / sum(parts) for x in parts)
    return EpsilonBudget(statistics, smoothing, amplification, parameters.eps_cor, forgery_bound)
