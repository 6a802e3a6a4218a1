"""``qkd-hal plan``: a table for people, parameters for programs."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner

from qkd_hal.cli._run import run
from qkd_hal.cli.commands import root
from qkd_hal.distillation.channel_model import Link
from qkd_hal.distillation.parameters import DistillationParameters
from qkd_hal.distillation.planner import Goal, plan

QUICK = ("plan", "--source", "single-photon", "--length-km", "50")


def told(*arguments: str) -> dict[str, Any]:
    done = CliRunner().invoke(root, [*arguments, "--json"], catch_exceptions=False)
    assert done.exit_code == 0
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_every_option_reaches_the_planner() -> None:
    options = {
        "--length-km": 25,
        "--db-per-km": 0.3,
        "--insertion-db": 1.5,
        "--efficiency": 0.3,
        "--dark-counts": 1e-6,
        "--afterpulses": 0.02,
        "--misalignment": 0.02,
        "--dead-time-ns": 50,
        "--clock-mhz": 200,
        "--block-size": 100_000,
        "--max-seconds": 30,
        "--eps-sec": 1e-9,
        "--eps-cor": 1e-12,
    }
    words = [str(word) for pair in options.items() for word in pair]
    found = told("plan", "--source", "wcp-1-decoy", *words)
    link = Link(9.0, 0.3, 1e-6, 0.02, 0.02, 2e8, 5e-8)
    goal = Goal(eps_sec=1e-9, eps_cor=1e-12, max_seconds=30.0)
    expected = plan(link, source="wcp-1-decoy", goal=goal, block_size=100_000)
    assert found["net_bits"] == expected.net_bits
    assert found["net_bits_per_second"] == pytest.approx(expected.net_bits_per_second)
    assert (found["seconds"], found["qber"]) == (expected.seconds, expected.qber)
    assert found["secret_bits"] == expected.secret_bits
    assert found["pulses"] == round(expected.pulses)


def test_its_parameters_are_ready_to_use() -> None:
    found = told(*QUICK)["parameters"]
    lists = {"intensities", "intensity_probabilities"}
    settings: dict[str, Any] = {name: tuple(x) if name in lists else x for name, x in found.items()}
    assert DistillationParameters(**settings).source == "single-photon"


def test_people_see_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(root, QUICK) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("single-photon, 10 dB\n")
    assert "block size" in shown
    assert "net bits per second" in shown


def test_a_link_too_long_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(root, (*QUICK[:3], "--length-km", "900")) == 7
    assert "gives a key" in capsys.readouterr().err
