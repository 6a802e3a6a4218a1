"""Hours of link time: the feedback keeps the link alive, and runs repeat."""

from __future__ import annotations

from dataclasses import replace

import pytest

from qkd_hal.errors import UsageError
from qkd_hal_simulators.long_run import RunSettings, long_run
from qkd_hal_simulators.presets import PRESETS

LIM = PRESETS["lim-2014"]
SHORT = RunSettings(seconds=6 * 3600, intervals=6, most_blocks=600)


def test_feedback_keeps_a_drifting_link_alive() -> None:
    followed = long_run(LIM.parameters, LIM.channel, SHORT).total
    left = long_run(LIM.parameters, LIM.channel, replace(SHORT, feedback=False)).total
    assert followed.aborted == 0
    assert followed.off_mrad < 60 < left.off_mrad
    assert followed.qber < 0.03 < left.qber
    assert followed.net_bits > 1.5 * left.net_bits


def test_without_drift_the_dither_costs_little() -> None:
    still = replace(SHORT, drift_mrad=0.0)
    followed = long_run(LIM.parameters, LIM.channel, still).total
    left = long_run(LIM.parameters, LIM.channel, replace(still, feedback=False)).total
    assert left.off_mrad == 0.0
    assert 0.97 < followed.net_bits / left.net_bits < 1.0
    assert followed.qber - left.qber == pytest.approx(0.0009, abs=0.0005)


def test_a_run_lasts_as_long_as_asked_and_tells_of_every_interval() -> None:
    run = long_run(LIM.parameters, LIM.channel, SHORT)
    assert [one.begin for one in run.intervals] == [3600.0 * hour for hour in range(6)]
    assert run.total.seconds == pytest.approx(6 * 3600, rel=0.01)
    assert run.total.blocks == pytest.approx(sum(one.blocks for one in run.intervals))
    told = run.to_json()
    assert told["total"] == {
        **{name: getattr(run.total, name) for name in run.total.__dataclass_fields__},
        "net_bits_per_second": run.total.net_bits / run.total.seconds,
    }


def test_a_seed_repeats_a_run() -> None:
    runs = [
        long_run(LIM.parameters, LIM.channel, replace(SHORT, seconds=600, seed=seed)).to_json()
        for seed in (1, 1, 2)
    ]
    assert runs[0] == runs[1] != runs[2]


def test_fewer_drawn_blocks_stand_for_the_same_key() -> None:
    still = replace(SHORT, drift_mrad=0.0)
    many, few = (
        long_run(LIM.parameters, LIM.channel, replace(still, most_blocks=most)).total
        for most in (400, 40)
    )
    assert few.blocks == pytest.approx(many.blocks, rel=0.05)
    assert few.net_bits_per_second == pytest.approx(many.net_bits_per_second, rel=0.01)


@pytest.mark.parametrize(
    ("name", "bits_per_second"), [("zte-2024", 20e3), ("toshiba-2018", 13.72e6)]
)
def test_presets_of_known_systems_give_their_rate(name: str, bits_per_second: float) -> None:
    preset = PRESETS[name]
    still = RunSettings(seconds=600, intervals=1, drift_mrad=0.0, feedback=False, most_blocks=50)
    rate = long_run(preset.parameters, preset.channel, still).total.net_bits_per_second
    assert rate == pytest.approx(bits_per_second, rel=0.1)


def test_the_preset_of_qssl_has_five_percent_of_errors_and_a_fifth_of_test_bits() -> None:
    qssl = PRESETS["qssl"]
    still = RunSettings(seconds=0.1, intervals=1, drift_mrad=0.0, feedback=False, most_blocks=50)
    assert long_run(qssl.parameters, qssl.channel, still).total.qber == pytest.approx(
        0.05, rel=0.05
    )
    key, test = qssl.parameters.key_basis_probability**2, (1 / 3) ** 2
    assert test / (key + test) == pytest.approx(0.2)


@pytest.mark.parametrize(
    "wrong",
    [{"seconds": 0}, {"intervals": 0}, {"drift_mrad": -1}, {"reconciliation_efficiency": 0.9}],
)
def test_senseless_runs_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="needs time"):
        RunSettings(**wrong)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lim-2014", "rusca-2018", "zte-2024"])
def test_a_day_of_drift_costs_no_block(name: str) -> None:
    preset = PRESETS[name]
    day = long_run(preset.parameters, preset.channel)
    assert len(day.intervals) == 96
    assert day.total.aborted == 0
    rates = [one.net_bits_per_second for one in day.intervals]
    assert min(rates) > 0.9 * max(rates)
