"""The demo tells the truth, and leaves nothing behind however it ends."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

from qkd_hal.cli._run import run
from qkd_hal.cli.commands import root
from qkd_hal.keys import KeyId

SHORT_SECONDS = 6.0  # a short demo takes about half as long; Ctrl-C comes within
MOMENTS = random.Random(20)
DEMO = (sys.executable, "-m", "qkd_hal", "demo", "--short", "--json")


@pytest.fixture
def world(tmp_path: Path) -> dict[str, str]:
    """Put everything that a demo writes under one folder."""
    for name in ("tmp", "run"):
        (tmp_path / name).mkdir(mode=0o700)
    places = {"TMPDIR": str(tmp_path / "tmp"), "XDG_RUNTIME_DIR": str(tmp_path / "run")}
    return os.environ | places


def left_in(world: dict[str, str]) -> list[str]:
    """Return files below the demo's folders, and processes that were told of them."""
    places = world["TMPDIR"], world["XDG_RUNTIME_DIR"]
    files = [name for place in places for _, _, names in os.walk(place) for name in names]
    folders = [str(path) for path in Path(world["TMPDIR"]).iterdir()]
    lines = [
        " ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])
    ]
    return files + folders + [line for line in lines if world["TMPDIR"] in line]


def run_demo(world: dict[str, str], *options: str) -> dict[str, Any]:
    done = subprocess.run(
        [*DEMO, *options], env=world, capture_output=True, timeout=90, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert left_in(world) == []
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def check(report: dict[str, Any], megabytes: int) -> None:
    """Check what every demo must show."""
    assert 0 < report["qber"] < 0.05
    assert report["pulses"] > report["sifted_bits"] > report["secret_bits"] > 0
    assert 0 < report["leak_bits"] < report["sifted_bits"]
    assert 0.7 < report["reconciliation_efficiency"] < 1.6  # of an estimated error rate
    assert report["secret_key_rate_bps"] > 0
    assert report["bytes_moved"] == 2 * megabytes * 1024 * 1024
    assert len(report["key_ids"]) == len({KeyId.parse(text) for text in report["key_ids"]})
    tls = report["tls"]
    assert (tls["version"], tls["group"]) == ("TLSv1.3", "X25519MLKEM768")
    assert (tls["protection"], tls["psk_used"]) == ("quantum+hybrid", True)
    assert (tls["provenance"], tls["simulated"]) == ("simulated", True)
    assert tls["cipher"].startswith("TLS_")
    assert report["handshake_ms"].keys() == {"quantum", "rsa2048", "rsa2048_x25519"}
    assert min(report["handshake_ms"].values()) > 0
    assert report["after_drain"]["refused"] is True
    assert report["after_drain"]["error"]["code"] == "keys-exhausted"
    assert len(report["key_ids"]) == report["after_drain"]["handshakes_before"] + 2
    assert report["seconds"] > 0


def test_three_demos_in_a_row_tell_the_truth(world: dict[str, str]) -> None:
    for megabytes in (1, 2, 1):
        check(run_demo(world, "--megabytes", str(megabytes)), megabytes)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_hundred_demos_in_a_row(world: dict[str, str]) -> None:
    for _ in range(100):
        check(run_demo(world), 1)


@pytest.mark.slow
def test_the_full_demo_tells_the_truth(world: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "qkd_hal", "demo", "--json"],
        env=world,
        capture_output=True,
        timeout=90,
        check=True,
    )
    check(json.loads(done.stdout), 8)


def test_eve_is_found_by_her_error_rate(world: dict[str, str]) -> None:
    report = run_demo(world, "--eve", "intercept-resend")
    assert report["eve"] == {"attack": "intercept-resend", "fraction": 1.0}
    assert report["qber"] == pytest.approx(0.25, abs=0.03)  # ideal photons, a few thousand bits
    assert (report["aborted"], report["reason"]) == (True, "qber")
    assert "qber-high" in report["alarms"]
    assert report["secret_bits"] == 0


def test_people_get_lines_at_once_and_a_table(world: dict[str, str]) -> None:
    begin = time.monotonic()
    with subprocess.Popen(
        [*DEMO[:-1]], env=world, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as demo:
        assert demo.stderr
        assert demo.stdout
        assert demo.stderr.readline().startswith("Starting two optical modems")
        assert time.monotonic() - begin < 5
        said, table = demo.stderr.read(), demo.stdout.read()
    assert demo.returncode == 0
    assert "Distilling secret key" in said
    for word in ("QBER", "secret key rate", "key IDs", "protected by", "SHA-256", "refused after"):
        assert word in table


def test_what_is_missing_is_said_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("qkd_hal.cli.demo.find_spec", lambda name: name != "OpenSSL" or None)
    assert run(root, ["demo"]) == 3
    line = "error [missing-extra]: the demo needs the Python modules OpenSSL."
    assert capsys.readouterr().err == f"{line} Run: pip install 'qkd-hal[sim,tls]'\n"


def interrupt(world: dict[str, str], number: signal.Signals, after: float) -> int:
    with subprocess.Popen(
        DEMO, env=world, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as demo:
        time.sleep(after)  # any moment will do
        demo.send_signal(number)
        return demo.wait(30)


@pytest.mark.parametrize("after", [MOMENTS.uniform(0.2, SHORT_SECONDS / 2) for _ in range(3)])
def test_ctrl_c_at_any_moment_leaves_nothing(after: float, world: dict[str, str]) -> None:
    code = interrupt(world, signal.SIGINT, after)
    assert code in {130, -signal.SIGINT, 0}  # before, while, and after click runs
    assert left_in(world) == []


@pytest.mark.slow
@pytest.mark.parametrize("after", [MOMENTS.uniform(0, SHORT_SECONDS) for _ in range(40)])
def test_ctrl_c_at_more_moments_leaves_nothing(after: float, world: dict[str, str]) -> None:
    assert interrupt(world, signal.SIGINT, after) in {130, -signal.SIGINT, 0}
    assert left_in(world) == []


def test_an_impatient_second_ctrl_c_leaves_nothing(world: dict[str, str]) -> None:
    with subprocess.Popen(
        DEMO, env=world, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as demo:
        time.sleep(2)  # any moment will do
        for _ in range(3):
            demo.send_signal(signal.SIGINT)
            time.sleep(0.05)
        assert demo.wait(30) in {130, -signal.SIGINT}
    assert left_in(world) == []


def test_sigterm_leaves_nothing(world: dict[str, str]) -> None:
    code = interrupt(world, signal.SIGTERM, 1.5)
    assert code in {128 + signal.SIGTERM, -signal.SIGTERM}  # a slow machine has not begun yet
    assert left_in(world) == []


def test_a_killed_demo_leaves_no_process(world: dict[str, str]) -> None:
    interrupt(world, signal.SIGKILL, 2.0)
    until = time.monotonic() + 20
    while running := [line for line in left_in(world) if "qkd_hal" in line]:
        assert time.monotonic() < until, running
        time.sleep(0.05)
