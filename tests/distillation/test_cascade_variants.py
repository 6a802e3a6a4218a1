"""Block sizes, and the rule that chooses among variants."""

from __future__ import annotations

import pytest

from qkd_hal.distillation.cascade_variants import (
    LOW_LEAK,
    ORIGINAL,
    QUICK,
    YANETAL,
    Variant,
    choose,
)


@pytest.mark.parametrize(
    ("variant", "qber", "sizes"),
    [
        (YANETAL, 0.03, [32, 128, 8192]),
        (YANETAL, 0.01, [128, 256, 8192]),
        (LOW_LEAK, 0.03, [32, 512, 8192]),
        (LOW_LEAK, 0.001, [1024, 8192, 32768]),
        (QUICK, 0.03, [32, 64, 8192]),
        (ORIGINAL, 0.03, [24, 49, 97, 195]),
    ],
)
def test_sizes(variant: Variant, qber: float, sizes: list[int]) -> None:
    assert variant.block_sizes(qber, 1_000_000) == sizes


@pytest.mark.parametrize("variant", [ORIGINAL, QUICK, YANETAL, LOW_LEAK])
@pytest.mark.parametrize("qber", [0.0, 1e-9, 0.5, 1.0])
@pytest.mark.parametrize("bits", [1, 2, 3, 1000])
def test_sizes_suit_the_key_whatever_the_rate(variant: Variant, qber: float, bits: int) -> None:
    sizes = variant.block_sizes(qber, bits)
    assert min(sizes) >= 1
    assert max(sizes) <= (bits + 1) // 2


@pytest.mark.parametrize(
    ("qber", "bits", "round_trip", "variant"),
    [
        (0.02, 1_000_000, 0.0, YANETAL),
        (0.02, 1_000_000, 0.005, YANETAL),
        (0.02, 1_000_000, 0.010, QUICK),
        (0.02, 10_000_000, 0.010, YANETAL),
        (0.02, 1_000, 0.0003, YANETAL),
        (0.02, 1_000, 0.0005, QUICK),
        (0.0799, 1_000_000, 0.0, YANETAL),
        (0.08, 1_000_000, 0.0, LOW_LEAK),
        (0.08, 1_000_000, 0.002, YANETAL),
        (0.08, 10_000_000, 0.010, LOW_LEAK),
    ],
)
def test_the_rule(qber: float, bits: int, round_trip: float, variant: Variant) -> None:
    assert choose(qber, bits, round_trip) is variant
