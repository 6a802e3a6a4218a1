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
from qkd_hal.cli.demo.report import print_eve
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
    assert report["secret_key_rate_bps"] is None
    eve = report["eve_report"]
    assert eve["pulses_tapped"] == eve["pulses_seen"] > 0
    assert 0.47 < eve["known_bits"] / eve["sifted_bits"] < 0.53
    assert abs(eve["yield_change"]) < 0.02


def test_splitting_photons_leaves_the_error_rate_and_takes_the_key(world: dict[str, str]) -> None:
    report = run_demo(world, "--eve", "photon-number-splitting")
    assert report["eve"] == {"attack": "photon-number-splitting", "fraction": 1.0}
    assert report["qber"] == pytest.approx(0.01, abs=0.004)
    assert (report["aborted"], report["reason"]) == (True, "no-secret-key")
    assert "qber-high" not in report["alarms"]
    assert report["secret_bits"] == 0
    eve = report["eve_report"]
    assert eve["known_bits"] > 0.99 * eve["sifted_bits"]
    assert eve["single_photon_share"] == 0.0
    assert abs(eve["yield_change"]) < 0.02


def test_a_man_in_the_middle_costs_blocks_and_makes_no_keys_differ(world: dict[str, str]) -> None:
    report = run_demo(world, "--eve", "man-in-the-middle:action=modify,fraction=0.5,messages=2")
    assert report["eve"]["messages"] == report["eve_report"]["modify"] == 2
    assert report["blocks"] > 0
    assert (report["keys_compared"], report["keys_differ"]) == (4, 0)


TAPPED = {
    "eve": {"attack": "intercept-resend", "fraction": 0.2, "basis": "breidbart"},
    "aborted": False,
    "reason": None,
    "qber": 0.0512,
    "secret_bits": 2512,
    "secret_key_rate_bps": 1538.5,
    "alarms": [],
    "eve_report": {
        "pulses_seen": 1000,
        "pulses_tapped": 200,
        "pulses_blocked": 50,
        "sifted_bits": 300,
        "known_bits": 7,
        "guessed_bits": 60,
        "guess_probability": 0.854,
        "shannon_bits": 31.1,
        "min_entropy_bits": 53.3,
        "yield_change": -0.042,
        "single_photon_share": 0.523,
    },
}
TAMPERED = {
    **TAPPED,
    "eve": {"attack": "man-in-the-middle", "fraction": 0.05},
    "aborted": True,
    "reason": "protocol",
    "qber": None,
    "secret_key_rate_bps": None,
    "blocks": 8,
    "aborted_blocks": 3,
    "keys_compared": 4,
    "keys_differ": 0,
    "eve_report": {"messages_heard": 1550, "messages_tampered": 5},
}


@pytest.mark.parametrize(
    ("report", "words"),
    [
        (TAPPED, "20% of the photons, basis breidbart"),
        (TAPPED, "200 of 1,000 pulses with light, 50 blocked"),
        (TAPPED, "7 of 300 sifted bits for sure"),
        (TAPPED, "60 more, of which 85.4% rightly"),
        (TAPPED, "31 bits (Shannon), 53 bits (min-entropy)"),
        (TAPPED, "clicks change by -4.2%"),
        (TAPPED, "at least 52.3% of the sifted key"),
        (TAPPED, "block accepted"),
        (TAPPED | {"aborted": True, "reason": "qber"}, "block aborted: qber"),
        (TAPPED, "1,538 bit/s"),
        (TAMPERED, "5% of the messages"),
        (TAMPERED, "1,550 messages"),
        (TAMPERED, "8 good, 3 aborted, the last for: protocol"),
        (TAMPERED, "4 compared at both ends, 0 differ"),
    ],
)
def test_a_table_says_what_eve_did(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    report: dict[str, Any],
    words: str,
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    print_eve(report)
    assert words in capsys.readouterr().out


@pytest.mark.parametrize(
    ("attack", "words"),
    [
        ("nonsense", "no attack 'nonsense'"),
        ("intercept-resend:basis=q", "no basis 'q'"),
        ("intercept-resend:fraction=1", "fraction is given twice"),
        ("man-in-the-middle:loud=1", "no option loud"),
    ],
)
def test_an_attack_that_is_none_is_wrong_use(
    world: dict[str, str], attack: str, words: str
) -> None:
    done = subprocess.run(
        [*DEMO, "--eve", attack, "--fraction", "0.5"],
        env=world,
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, words.encode() in done.stdout) == (2, True)


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
