"""Every failure that a block may have is in its report."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from qkd_hal.distillation.epsilon_budget import epsilon_budget
from qkd_hal.distillation.parameters import DistillationParameters

if TYPE_CHECKING:
    from tests.distillation.conftest import Pair

MakePair = Callable[..., "Pair"]

WCP = DistillationParameters(eps_sec=1e-9, eps_cor=1e-12)
ONE_DECOY = DistillationParameters(
    source="wcp-1-decoy",
    intensities=(0.5, 0.2),
    intensity_probabilities=(0.7, 0.3),
    eps_sec=1e-9,
    eps_cor=1e-12,
)


@pytest.mark.parametrize(
    ("parameters", "statistics", "smoothing", "amplification"),
    [
        (WCP, 12 / 21, 8 / 21, 1 / 21),
        (ONE_DECOY, 10 / 19, 8 / 19, 1 / 19),
        (DistillationParameters.short(), 0, 0.5, 0.5),
    ],
)
def test_the_terms_are_those_of_the_proofs(
    parameters: DistillationParameters, statistics: float, smoothing: float, amplification: float
) -> None:
    budget = epsilon_budget(parameters, 3e-20)
    whole = parameters.eps_sec
    assert budget.statistics == pytest.approx(statistics * whole)
    assert budget.smoothing == pytest.approx(smoothing * whole)
    assert budget.amplification == pytest.approx(amplification * whole)
    assert budget.secrecy == pytest.approx(whole)
    assert (budget.correctness, budget.authentication) == (parameters.eps_cor, 3e-20)
    assert budget.total == pytest.approx(whole + parameters.eps_cor + 3e-20)


def test_a_block_reports_its_budget(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.photons()
    pair.run()
    report = pair.detector.distilled[0].report
    budget = report.epsilon_budget
    assert budget == epsilon_budget(pair.parameters, report.forgery_bound)
    assert budget.total == pytest.approx(report.epsilon)
    told = json.loads(json.dumps(report.to_json()))["epsilon_budget"]
    assert sum(told.values()) == pytest.approx(report.epsilon)


def test_a_block_without_a_key_has_none(make_pair: MakePair) -> None:
    pair = make_pair(qber=0.2)
    pair.photons()
    pair.run()
    report = pair.detector.aborts[0].report
    assert report.epsilon_budget is report.to_json()["epsilon_budget"] is None
