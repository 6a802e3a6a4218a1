"""Sifting and counting: both ends get the same numbers."""

from __future__ import annotations

import numpy as np
import pytest

from qkd_hal.distillation.estimation import Estimation, estimate
from qkd_hal.distillation.parameters import DistillationParameters
from qkd_hal.distillation.sifting import Sifted, sift
from qkd_hal.errors import NoSecretKeyError, QBERError


def array(*values: int) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    return np.array(values, np.uint8)


def test_sifting_parts_key_from_test_bits() -> None:
    sifted = sift(array(1, 0, 1, 1), array(0, 1, 0, 1), array(0, 1, 2, 2))
    assert sifted.key_bits.tolist() == [1, 1]
    assert sifted.key_intensities.tolist() == [0, 2]
    assert sifted.test_bits.tolist() == [0, 1]
    assert sifted.test_intensities.tolist() == [1, 2]
    sifted.wipe()
    assert sifted.key_bits.tolist() == [0, 0]
    assert "array" not in repr(sifted)


def test_counts_per_intensity() -> None:
    mine = Sifted(array(1, 1, 0), array(0, 0, 2), array(1, 0, 1, 1), array(0, 1, 1, 2))
    estimation = estimate(mine, array(0, 0, 0, 0), levels=3)
    assert estimation == Estimation(key=(2, 0, 1), test=(1, 2, 1), errors=(1, 1, 1))
    assert (estimation.key_bits, estimation.test_bits, estimation.qber) == (3, 4, 0.75)


def test_the_threshold_itself_passes() -> None:
    at = Estimation(key=(100,), test=(100,), errors=(11,))
    at.check(0.11)
    with pytest.raises(QBERError, match=r"11\.0%.*10\.0%"):
        at.check(0.10)


@pytest.mark.parametrize("counts", [((0,), (5,), (0,)), ((5,), (0,), (0,))])
def test_nothing_to_test_or_to_keep_is_an_abort(
    counts: tuple[tuple[int], tuple[int], tuple[int]],
) -> None:
    with pytest.raises(NoSecretKeyError):
        Estimation(*counts).check(0.11)


def test_lengths_are_whole_bytes_and_follow_the_source() -> None:
    single = Estimation(key=(800_000,), test=(200_000,), errors=(10_000,))
    short = DistillationParameters.short()
    length = single.secret_bits(short, 250_000)
    assert length % 8 == 0
    assert single.secret_bits(short, 250_008) == length - 8
    decoy = Estimation((200_000, 280_000, 130), (16_000, 22_000, 10), (160, 220, 1))
    assert 0 < decoy.secret_bits(DistillationParameters(), 40_000) < 300_000
