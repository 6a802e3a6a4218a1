"""The demo on a link of the user's choice."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from qkd_hal.cli.demo import demo
from qkd_hal.cli.demo.settings import KEY_BYTES, DemoSettings, usual_length_km

DEMO = (sys.executable, "-m", "qkd_hal", "demo", "--json", "--megabytes", "1", "--handshakes", "4")


def test_a_demo_runs_on_a_named_link() -> None:
    done = subprocess.run([*DEMO, "--preset", "qssl"], capture_output=True, timeout=90, check=True)
    report = json.loads(done.stdout)
    assert 0.03 < report["qber"] < 0.07
    assert report["tls"]["psk_used"] is True


def test_a_link_that_there_is_not_is_named_with_those_that_there_are() -> None:
    done = subprocess.run([*DEMO, "--preset", "moon"], capture_output=True, timeout=90, check=False)
    told = json.loads(done.stdout)["error"]["message"]
    assert "'moon' is not one of" in told
    assert "'zte-2024'" in told


def test_short_is_a_preset_of_its_own() -> None:
    assert CliRunner().invoke(demo, ["--short", "--preset", "qssl"]).exit_code == 2


@pytest.mark.parametrize(
    ("preset", "eve", "length_km"),
    [
        ("short", None, 5.0),
        ("default", "intercept-resend", 5.0),
        ("default", "photon-number-splitting:fraction=1", 50.0),
        ("zte-2024", None, None),
        ("zte-2024", "photon-number-splitting", None),
    ],
)
def test_the_length_is_the_presets_where_it_has_one(
    preset: str, eve: str | None, length_km: float | None
) -> None:
    assert usual_length_km(eve, preset) == length_km


def test_sizes_follow_from_the_preset() -> None:
    named = DemoSettings(preset="qssl", megabytes=1, length_km=None, handshakes=1)
    usual = DemoSettings(preset="default", megabytes=1, length_km=7.5, handshakes=1)
    assert (named.channel, usual.channel) == ((), ("--length-km", "7.5"))
    assert (named.block_size, usual.block_size) == (8 * KEY_BYTES, 256 * KEY_BYTES)
    assert named.patience > usual.patience
