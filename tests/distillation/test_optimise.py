"""The simplex search against functions whose minimum is known."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from qkd_hal.distillation.optimise import minimise

if TYPE_CHECKING:
    from collections.abc import Sequence


def rosenbrock(x: Sequence[float]) -> float:
    return 1 + sum(100 * (b - a * a) ** 2 + (1 - a) ** 2 for a, b in pairwise(x))


@pytest.mark.parametrize("dimensions", [2, 3, 4])
def test_a_bent_valley(dimensions: int) -> None:
    point, value = minimise(rosenbrock, [-0.5] * dimensions, tolerance=1e-12)
    assert value == pytest.approx(1, abs=1e-6)
    assert point == pytest.approx([1.0] * dimensions, abs=1e-2)


def test_one_variable() -> None:
    point, value = minimise(lambda x: abs(x[0] - 3) - 2, [10.0])
    assert point == pytest.approx([3.0], abs=1e-5)
    assert value == pytest.approx(-2, abs=1e-5)


def test_a_start_at_the_minimum_stays() -> None:
    assert minimise(lambda x: x[0] ** 2 + 1, [0.0]) == ((0.0,), 1.0)


def test_the_answer_is_the_value_at_its_point_and_always_the_same() -> None:
    point, value = minimise(rosenbrock, [2.0, -1.0])
    assert value == rosenbrock(point)
    assert minimise(rosenbrock, [2.0, -1.0]) == (point, value)


def test_few_steps_end_a_search() -> None:
    calls = 0

    def count(x: Sequence[float]) -> float:
        nonlocal calls
        calls += 1
        return x[0]  # falls for ever

    minimise(count, [0.0], most_steps=5)
    assert calls < 500
