"""The curve of QBER and key against Eve's share."""

from __future__ import annotations

import pytest

from qkd_hal.errors import UsageError
from qkd_hal_simulators.channel import ChannelSettings
from qkd_hal_simulators.eavesdropping import Point, sweep

SHARES = [0.0, 0.1, 0.2, 0.5, 1.0]
SIGMAS_6 = 0.03  # six deviations of an error rate of a quarter over 10000 bits, rounded up


@pytest.fixture(scope="module")
def curve() -> list[Point]:
    return sweep("intercept-resend", SHARES, preset="short", pulses=1 << 18, seed=3)


def test_the_error_rate_grows_by_a_quarter_of_the_share(curve: list[Point]) -> None:
    assert [point.share for point in curve] == SHARES
    for point in curve:
        # A hundredth of the photons goes astray anyway, half of it of those that Eve turned.
        expected = point.share / 4 + 0.01 * (1 - point.share / 2)
        assert point.qber == pytest.approx(expected, abs=SIGMAS_6)
        assert point.key_qber == pytest.approx(expected, abs=SIGMAS_6)


def test_eve_learns_half_of_her_share(curve: list[Point]) -> None:
    for point in curve:
        assert point.eve_bits == pytest.approx(
            point.share / 2 * point.sifted_bits, abs=SIGMAS_6 * point.sifted_bits
        )


def test_the_key_shrinks_to_nothing_at_the_threshold(curve: list[Point]) -> None:
    secret = [point.secret_bits for point in curve]
    assert secret[0] > secret[1] > secret[2] > 0
    assert secret[3:] == [0, 0]
    assert all(point.secret_bits + point.eve_bits < point.sifted_bits for point in curve)


def test_a_seed_replays_a_curve(curve: list[Point]) -> None:
    again = sweep("intercept-resend", SHARES, preset="short", pulses=1 << 18, seed=3)
    assert again == curve
    other = sweep("intercept-resend", SHARES[:1], preset="short", pulses=1 << 18, seed=4)
    assert other[0] != curve[0]


def test_options_and_channel_reach_the_attack() -> None:
    far = ChannelSettings(length_km=30.0)
    (near_point,) = sweep("beam-splitting", [1.0], pulses=1 << 20)
    (far_point,) = sweep("beam-splitting", [1.0], pulses=1 << 20, channel=far)
    assert far_point.sifted_bits < 0.5 * near_point.sifted_bits
    assert far_point.eve_bits / far_point.sifted_bits > 2 * (
        near_point.eve_bits / near_point.sifted_bits
    )
    (x,) = sweep("intercept-resend:basis=x", [1.0], preset="short", pulses=1 << 16)
    assert x.key_qber < 0.02
    assert x.qber == pytest.approx(0.5, abs=0.1)
    assert x.secret_bits == 0


def test_the_channel_is_the_presets_unless_told_otherwise() -> None:
    (point,) = sweep("noise", [0.0], preset="qssl", pulses=1 << 17)
    assert point.qber == pytest.approx(0.05, abs=0.015)


def test_pulses_need_not_fill_a_frame() -> None:
    (point,) = sweep("noise", [0.0], preset="short", pulses=100_000)
    assert point.sifted_bits == pytest.approx(100_000 * 0.397 * 4 / 9, rel=0.03)


@pytest.mark.parametrize(
    ("name", "shares", "preset"),
    [
        ("nonsense", [0.1], "short"),
        ("man-in-the-middle", [0.1], "short"),
        ("noise:fraction=0.3", [0.1], "short"),
        ("noise", [1.1], "short"),
        ("noise", [0.1], "nonsense"),
    ],
)
def test_what_cannot_be_swept_is_refused(name: str, shares: list[float], preset: str) -> None:
    with pytest.raises(UsageError):
        sweep(name, shares, preset=preset, pulses=1 << 10)
