"""The account of one block, good or aborted."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from qkd_hal.distillation.finite_key import binary_entropy

if TYPE_CHECKING:
    from qkd_hal.distillation.epsilon_budget import EpsilonBudget

__all__ = ["BlockReport"]


@dataclass(frozen=True, slots=True)
class BlockReport:
    """What became of a block's pulses. Counts are bits unless named otherwise.

    ``qber``: error rate of the test bits; ``key_qber``: of the key bits, known only to the
    detector, which corrected them. ``leak_bits``: parities that the emitter sent.
    ``secret_bits``: length of the amplified key; ``net_bits``: after refilling the pads;
    ``authentication_bits``: pad spent on tags by both ends. ``forgery_bound``: chance that
    any tag of the block was forged. ``epsilon``: security parameter of a good block, and
    ``epsilon_budget`` its terms. ``seconds`` is the host's to fill in.
    """

    block: int
    pulses: int = 0
    detections: int = 0
    sifted_bits: int = 0
    test_bits: int = 0
    qber: float | None = None
    key_qber: float | None = None
    leak_bits: int = 0
    verification_bits: int = 0
    secret_bits: int = 0
    net_bits: int = 0
    authentication_bits: int = 0
    forgery_bound: float = 0.0
    epsilon: float = 0.0
    epsilon_budget: EpsilonBudget | None = None
    seconds: float | None = None
    aborted: str | None = None

    @property
    def efficiency(self) -> float | None:
        """Leak over the Shannon limit, f = leak / (n h(Q)); None where Q is not known."""
        rate = self.key_qber or self.qber
        if not rate or not self.sifted_bits or not self.leak_bits:
            return None
        return self.leak_bits / (self.sifted_bits * binary_entropy(min(rate, 0.5)))

    def to_json(self) -> dict[str, Any]:
        """Return an object of plain numbers; ``epsilon_budget`` is one within it."""
        return {**asdict(self), "efficiency": self.efficiency}
