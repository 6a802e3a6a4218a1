"""Settings that make no sense are refused; the digest sees every one of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from qkd_hal.distillation.parameters import MAX_DETECTIONS, DistillationParameters
from qkd_hal.errors import ConfigurationError

WCP = DistillationParameters()


@pytest.mark.parametrize(
    "change",
    [
        {"source": "laser"},
        {"intensities": (0.5, 0.2)},
        {"intensities": (0.5, 0.2, 0.3)},
        {"intensities": (0.5, 0.45, 0.1)},
        {"intensities": (0.5, 0.2, -0.1)},
        {"intensity_probabilities": (0.5, 0.5)},
        {"intensity_probabilities": (0.5, 0.5, 0.1)},
        {"intensity_probabilities": (0.5, 0.6, -0.1)},
        {"key_basis_probability": 0.0},
        {"key_basis_probability": 1.0},
        {"block_size": 999},
        {"block_size": MAX_DETECTIONS},
        {"qber_threshold": 0.0},
        {"qber_threshold": 0.5},
        {"eps_sec": 0.0},
        {"eps_cor": 1.0},
        {"pad_refill_bytes": 32},
        {"pad_refill_bytes": 72},
        {"pad_refill_bytes": 1 << 17},
    ],
)
def test_values_out_of_range_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        replace(WCP, **change)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [
        {"intensities": (0.6, 0.23, 0.0002)},
        {"intensity_probabilities": (0.3, 0.46, 0.24)},
        {"key_basis_probability": 0.7},
        {"block_size": 1 << 18},
        {"qber_threshold": 0.07},
        {"eps_sec": 1e-9},
        {"eps_cor": 1e-14},
        {"pad_refill_bytes": 64},
        {"extra": {"high_water": 4}},
    ],
)
def test_every_setting_is_in_the_digest(change: dict[str, object]) -> None:
    digest = replace(WCP, **change).digest()  # type: ignore[arg-type]
    assert len(digest) == 32
    assert digest != WCP.digest()


def test_the_digest_does_not_depend_on_the_order_of_extras() -> None:
    one, two = {"a": 1, "bb": 2}, {"bb": 2, "a": 1}
    assert replace(WCP, extra=one).digest() == replace(WCP, extra=two).digest()


def test_the_digest_is_pinned() -> None:
    # Both ends compute it by themselves; a change cuts every link in service.
    assert DistillationParameters.short().digest().hex() == PINNED


PINNED = "58bfc8babf1c5bea8dea5f11561c5285ccf5ca0c48382f16ab498b7929f01d03"


def test_detections_give_the_block_size_on_average() -> None:
    parameters = DistillationParameters.short()
    assert parameters.detections_per_block == 36_000
    assert parameters.levels == 1
