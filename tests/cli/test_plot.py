"""Figures: written, readable, always the same, and with the numbers of the literature."""

from __future__ import annotations

import csv
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner
from matplotlib import image

from qkd_hal.cli.plot import plot
from qkd_hal.cli.plot.chart import Chart, Curve, Panel
from qkd_hal.cli.plot.draw import draw
from qkd_hal.cli.plot.eve import chart as eve_chart
from qkd_hal.cli.plot.net_gain import chart as net_gain_chart
from qkd_hal.cli.plot.rate_distance import chart as rate_distance_chart
from qkd_hal.cli.plot.rate_distance import key_per_pulse
from qkd_hal.distillation.qssl import QSSLSession, net_gain
from qkd_hal.errors import ConfigurationError

Run = Callable[..., subprocess.CompletedProcess[str]]

CHART = Chart(
    "test",
    "Length (km)",
    (
        Panel("Rate (bit per pulse)", (Curve("a", (0.0, 1.0), (1e-3, 1e-5)),), y_log=True),
        Panel("Share", (Curve("b", (0.0, 1.0), (0.5, -0.1), dashed=True),), percent=True),
    ),
    "A caption with 4~% in it.",
)

# Secret bits per pulse by block size and kilometres, optimised, with eta_sys in e_k.
LIM = {
    (10**4, 0): 2.084e-4,
    (10**4, 50): 1.883e-5,
    (10**5, 20): 5.054e-4,
    (10**5, 50): 1.236e-4,
    (10**5, 135): 8.780e-7,
    (10**7, 50): 5.139e-4,
    (10**7, 100): 4.766e-5,
    (10**9, 0): 9.203e-3,
    (10**9, 100): 8.537e-5,
    (10**9, 180): 9.346e-8,
}


@pytest.mark.parametrize(("size", "km"), LIM)
def test_rates_of_lim_2014(size: int, km: int) -> None:
    assert key_per_pulse(km, size) == pytest.approx(LIM[size, km], rel=0.03)


def test_the_ratio_that_the_paper_names() -> None:
    """The text puts 10^9 bits at about 1.75 times the rate of 10^7 bits, at 100 km."""
    assert 1.65 < key_per_pulse(100, 10**9) / key_per_pulse(100, 10**7) < 1.90


def test_no_key_is_no_point() -> None:
    (panel,) = rate_distance_chart([110, 200], [5]).panels
    assert panel.curves[0].x == (110.0,)
    assert key_per_pulse(200, 10**5) == 0


@pytest.mark.parametrize(
    ("sifted", "individual", "asymptotic", "serfling", "exact", "best", "net"),
    [
        (5000, 1803, 1408, 0, 192, 332, 192 - 256),
        (10_000, 3947, 3048, 145, 1284, 1353, 1028),
        (20_000, 8278, 6328, 1806, 3815, 3815, 3559),
        (50_000, 21384, 16169, 8340, 12189, 12398, 11933),
    ],
)
def test_gains_of_the_qssl_table(
    sifted: int, individual: int, asymptotic: int, serfling: int, exact: int, best: int, net: int
) -> None:
    gain = net_gain(sifted)
    assert gain.individual == pytest.approx(individual, rel=0.03)
    assert gain.asymptotic == pytest.approx(asymptotic, rel=0.03)
    assert gain.serfling == pytest.approx(serfling, rel=0.03)
    assert gain.exact == pytest.approx(exact, rel=0.03)
    assert gain.best_sample == pytest.approx(best, rel=0.03)
    assert gain.net == pytest.approx(net, rel=0.03, abs=3)  # one error is up to 4 bits
    assert gain.exact <= gain.best_sample


def test_a_session_pays_for_its_tags() -> None:
    assert net_gain(5000, QSSLSession(tag_bits=64)).net - net_gain(5000).net == 128


def test_the_curves_of_net_gain_are_the_table() -> None:
    (panel,) = net_gain_chart([10_000]).panels
    assert [curve.y[0] for curve in panel.curves if curve.dashed] == [3947, 3048]
    assert min(curve.y[0] for curve in panel.curves) == 144


def test_eve_pays_a_quarter_of_an_error_for_a_pulse() -> None:
    shares = (0.0, 0.4, 1.0)
    qber, key, known = eve_chart(
        ["intercept-resend"], shares, preset="short", pulses=1 << 17, seed=1
    ).panels
    base, *tapped = qber.curves[0].y
    assert base == pytest.approx(0.01, abs=0.005)
    for share, found in zip(shares[1:], tapped, strict=True):
        expected = share / 4 + (1 - share / 2) * base
        assert found == pytest.approx(expected, abs=0.012)  # 4 sigma of some 2e4 test bits
    assert key.curves[0].y[0] > 0.5
    assert key.curves[0].y[1:] == (0.0, 0.0)
    assert known.curves[0].y[2] == pytest.approx(0.5, abs=0.02)


def test_no_simulator_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qkd_hal.plugins.found", lambda _: [])
    with pytest.raises(ConfigurationError, match="sim"):
        eve_chart(["intercept-resend"], (0.0,), preset="short", pulses=1000, seed=1)


def test_a_png_can_be_read(tmp_path: Path) -> None:
    draw(CHART, tmp_path / "figure.png")
    pixels = image.imread(tmp_path / "figure.png")
    assert pixels.shape[1] == 1260
    assert pixels.shape[0] > 1000
    assert pixels[..., :3].min() < 0.2


def test_an_svg_can_be_read(tmp_path: Path) -> None:
    draw(CHART, tmp_path / "figure.svg")
    root = ET.parse(tmp_path / "figure.svg").getroot()  # noqa: S314 - our own file
    assert root.tag.endswith("svg")
    text = (tmp_path / "figure.svg").read_text()
    for label in ("Length (km)", "Rate (bit per pulse)", "A caption with 4\N{NO-BREAK SPACE}%"):
        assert label in text


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_the_same_numbers_make_the_same_file(tmp_path: Path, suffix: str) -> None:
    files = [tmp_path / f"{number}.{suffix}" for number in range(2)]
    for file in files:
        draw(CHART, file)
    first, second = (file.read_bytes() for file in files)
    assert first == second
    assert b"<dc:date>" not in first


def test_numbers_are_written_as_csv_and_json(tmp_path: Path) -> None:
    out = tmp_path / "numbers.csv"
    done = CliRunner().invoke(plot, ["net-gain", "--to", "7500", "--json", "--csv", str(out)])
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    rows = list(csv.reader(out.read_text().splitlines()))
    (panel,) = found["panels"]
    assert len(rows) == 1 + 2 * len(panel["curves"])
    assert rows[1] == ["Net key gain (bit)", panel["curves"][0]["label"], "5000.0", "1803.0"]
    assert "~" not in found["caption"]


@pytest.mark.parametrize("arguments", [["net-gain"], ["net-gain", "--out", "figure.pdf"]])
def test_wrong_use(arguments: list[str]) -> None:
    assert CliRunner().invoke(plot, arguments).exit_code == 2


def test_the_command_writes_a_figure(qkd_hal: Run, tmp_path: Path) -> None:
    out = tmp_path / "figure.svg"
    done = qkd_hal("plot", "net-gain", "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert ET.parse(out).getroot().tag.endswith("svg")  # noqa: S314


def test_without_matplotlib_the_extra_is_named(qkd_hal: Run, tmp_path: Path) -> None:
    (tmp_path / "matplotlib.py").write_text("raise ModuleNotFoundError(name='matplotlib')")
    done = qkd_hal("plot", "net-gain", "--out", str(tmp_path / "a.svg"), PYTHONPATH=str(tmp_path))
    assert done.returncode == 3
    assert "pip install 'qkd-hal[plot]'" in done.stderr
    assert qkd_hal("plot", "net-gain", "--json", PYTHONPATH=str(tmp_path)).returncode == 0
