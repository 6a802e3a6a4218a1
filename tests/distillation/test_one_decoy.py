"""A source with one decoy: the errors of the key are told, counted and paid for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkd_hal.distillation.estimation import Estimation, UncorrectedKey
from qkd_hal.distillation.finite_key_decoy import DecoyCounts, decoy_secret_bits
from qkd_hal.distillation.messages import Corrected, Frame, decode, encode
from qkd_hal.distillation.parameters import DistillationParameters
from qkd_hal.distillation.sifting import Sifted
from qkd_hal.errors import ConfigurationError, ProtocolError

if TYPE_CHECKING:
    from tests.distillation.conftest import Pair

MakePair = Callable[..., "Pair"]
ONE_DECOY = DistillationParameters(
    source="wcp-1-decoy",
    intensities=(0.5, 0.16),
    intensity_probabilities=(0.63, 0.37),
    key_basis_probability=0.7,
)
COUNTS = Estimation((300_000, 60_000), (30_000, 9000), (300, 90))


def told(*errors: int) -> bytes:
    return np.array(errors, ">u4").tobytes()


def test_a_session_gives_a_key(make_pair: MakePair) -> None:
    settings = {name: getattr(ONE_DECOY, name) for name in ONE_DECOY.__slots__}
    pair = make_pair(**settings | {"block_size": 60_000, "eps_sec": 1e-6, "eps_cor": 1e-9})
    for _ in range(3):
        pair.detector.engine.add_detections(pair.channel.emit(1 << 18))
    pair.run()
    report = pair.detector.distilled[0].report
    assert pair.emitter.active == pair.detector.active
    assert 0.1 < report.net_bits / report.sifted_bits < 0.6
    messages = [decode(raw).message for raw in pair.detector.sent]
    errors = next(m.errors for m in messages if isinstance(m, Corrected))
    assert report.key_qber == np.frombuffer(errors, ">u4").sum() / report.sifted_bits


def test_errors_are_counted_per_intensity() -> None:
    bits, levels = (np.array(x, np.uint8) for x in ([1, 0, 1, 1, 0], [0, 1, 1, 1, 0]))
    sifted = Sifted(bits, levels, bits[:0], levels[:0])
    before = UncorrectedKey(sifted)
    sifted.key_bits[:] = [1, 1, 0, 1, 1]
    assert before.errors(ONE_DECOY) == told(1, 2)
    assert before.errors(DistillationParameters()) == b""
    before.wipe()
    assert before.errors(ONE_DECOY) == told(2, 2)


def test_the_announcement_is_paid_for() -> None:
    known = COUNTS.with_key_errors(told(3000, 600), ONE_DECOY)
    counts = DecoyCounts(COUNTS.key, COUNTS.test, COUNTS.errors, known.key_errors)
    levels = ONE_DECOY.intensities, ONE_DECOY.intensity_probabilities
    # 300,000 takes 19 bits to write down, 60,000 takes 16.
    length = decoy_secret_bits(counts, *levels, 40_000 + 19 + 16, 1e-10, 1e-15)
    assert known.secret_bits(ONE_DECOY, 40_000) == length // 8 * 8 > 0


def test_unknown_errors_give_no_key_but_do_not_end_a_block() -> None:
    assert COUNTS.secret_bits(ONE_DECOY, 0) < 0
    none = COUNTS.with_key_errors(told(0, 0), ONE_DECOY)
    assert COUNTS.best_case_bits(ONE_DECOY) == none.secret_bits(ONE_DECOY, 0) > 0


@given(st.binary(max_size=12))
def test_an_announcement_is_checked(raw: bytes) -> None:
    fits = len(raw) == 8 and all(
        wrong <= bits for wrong, bits in zip(np.frombuffer(raw, ">u4"), COUNTS.key, strict=True)
    )
    if fits:
        assert sum(COUNTS.with_key_errors(raw, ONE_DECOY).key_errors) <= COUNTS.key_bits
    else:
        with pytest.raises(ProtocolError):
            COUNTS.with_key_errors(raw, ONE_DECOY)


def test_other_sources_announce_nothing() -> None:
    standard = DistillationParameters()
    three = Estimation((1, 2, 3), (1, 2, 3), (0, 0, 0))
    assert three.with_key_errors(b"", standard) == three
    with pytest.raises(ProtocolError):
        three.with_key_errors(told(0, 0, 0), standard)
    counts = Estimation((200_000, 280_000, 130), (16_000, 22_000, 10), (160, 220, 1))
    assert counts.best_case_bits(standard) == counts.secret_bits(standard, 0) > 0


def test_the_announcement_crosses_the_wire() -> None:
    frame = Frame(b"sessions", 1, 2, Corrected(told(7, 8)))
    assert decode(encode(frame)) == frame


@pytest.mark.parametrize("intensities", [(0.5,), (0.5, 0.5), (0.2, 0.3), (0.5, 0.0)])
def test_one_decoy_is_dimmer_than_the_signal_and_not_dark(intensities: tuple[float, ...]) -> None:
    with pytest.raises(ConfigurationError):
        replace(ONE_DECOY, intensities=intensities)
