"""What Eve did, what she learned, and what it cost the two: numbers only, never her notes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qkd_hal.distillation.finite_key_decoy import DecoyCounts, decoy_bound

if TYPE_CHECKING:
    from qkd_hal.distillation.estimation import Estimation
    from qkd_hal.distillation.parameters import DistillationParameters
    from qkd_hal_simulators.eve_listener import Overheard
    from qkd_hal_simulators.physics.eve import Attack, Target

__all__ = ["cost_fields", "knowledge_fields", "single_photon_share", "tap_fields"]


def tap_fields(attack: Attack) -> dict[str, object]:
    """Return how many pulses she touched: of those that held light, and within her budget."""
    hands, budget = attack.hands, attack.hands.budget
    return {
        "pulses_seen": hands.seen,
        "pulses_tapped": budget.spent,
        "pulses_blocked": hands.blocked,
        "pulses_beyond_budget": budget.refused,
        "budget": {"pulses": budget.total, "per_second": budget.per_second},
    }


def knowledge_fields(overheard: Overheard) -> dict[str, object]:
    """Return what she knows of the sifted key, its bases announced."""
    return {"blocks": overheard.blocks, **overheard.knowledge.to_json()}


def cost_fields(
    overheard: Overheard, target: Target, parameters: DistillationParameters
) -> dict[str, object]:
    """Return what the two can count: error rate, yield, and their bound on single photons.

    ``yield_change``: by what share the clicks per pulse differ from those of a line that
    nobody taps. What no block has shown yet is ``None``.
    """
    last = overheard.last
    clicks = overheard.detections / overheard.pulses if overheard.pulses else None
    return {
        "qber": last.qber if last and last.test_bits else None,
        "clicks_per_pulse": clicks,
        "yield_change": None if clicks is None else clicks / target.honest_clicks - 1,
        "single_photon_share": single_photon_share(last, parameters) if last else None,
    }


def single_photon_share(estimation: Estimation, parameters: DistillationParameters) -> float | None:
    """Return the lower bound on single photons among the key bits, as a share of them.

    By decoy statistics, all of them public; ``None`` for a source of single photons.
    """
    if parameters.source == "single-photon" or not estimation.key_bits:
        return None
    # She does not learn where the key had errors: they may be anywhere.
    counts = DecoyCounts(estimation.key, estimation.test, estimation.errors, estimation.key)
    levels = parameters.intensities, parameters.intensity_probabilities
    return decoy_bound(counts, *levels, parameters.eps_sec).single_key / estimation.key_bits
