"""Eve as a process between two real modems, and the report that she keeps."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from qkd_hal import open_device
from qkd_hal.errors import UsageError
from qkd_hal_simulators._cli import modem
from qkd_hal_simulators.emulator import ModemPair

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PATIENCE = 30.0


def eventually(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def report_of(path: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(path.read_bytes()) if path.exists() else {}
    return report


def test_a_limited_eve_taps_what_she_may_and_the_rest_makes_key(tmp_path: Path) -> None:
    diary = tmp_path / "eve.json"
    with (
        ModemPair(eve="intercept-resend:pulses=5000", eve_report=diary) as pair,
        open_device(pair.alice_url) as alice,
        open_device(pair.bob_url) as bob,
    ):
        eventually(lambda: (alice.status().stored_keys or 0) > 0)
        eventually(lambda: (bob.status().stored_keys or 0) > 0)
        session = alice.start(peer="bob", size=32)
        session.connect()
        theirs = bob.get_key_by_id(session.key_id, peer="alice")
        assert session.get_key(32).matches(theirs)
        eventually(lambda: report_of(diary).get("blocks", 0) > 0)
        report = report_of(diary)
        assert diary.stat().st_mode & 0o077 == 0
        assert "--fibre-elsewhere" not in pair._lines["bob"]
        assert pair.log("eve").startswith("ready: 127.0.0.1:")
    assert (report["attack"], report["fraction"]) == ("intercept-resend", 1.0)
    assert report["pulses_tapped"] == 5000
    assert report["pulses_seen"] == 5000 + report["pulses_beyond_budget"]
    assert report["budget"] == {"pulses": 5000, "per_second": None}
    # Of the pulses that she measured, 441 clicked in the key basis at all three, if all of
    # them came after the two ends had begun.
    assert report["known_bits"] < 600 < report["sifted_bits"]


def test_eve_takes_the_fibre_over_and_nobody_can_count_it(tmp_path: Path) -> None:
    diary = tmp_path / "eve.json"
    options = ("--source", "wcp", "--length-km", "20", "--block-size", "20000")
    with ModemPair(eve="beam-splitting", eve_report=diary, options=options) as pair:
        eventually(lambda: report_of(diary).get("qber") is not None)
        report = report_of(diary)
        assert "--fibre-elsewhere" in pair._lines["bob"]
        assert "--fibre-elsewhere" not in pair._lines["alice"]
    assert abs(report["yield_change"]) < 0.03  # through the fibre twice it would be -60 %
    assert report["qber"] == pytest.approx(0.01, abs=0.008)
    assert report["pulses_blocked"] == 0
    assert 0.1 < report["known_bits"] / report["sifted_bits"] < 0.4


def test_an_attack_that_is_none_starts_nothing() -> None:
    with pytest.raises(UsageError, match="no attack"):
        ModemPair(eve="nonsense")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--listen", "127.0.0.1:0"), "where Eve listens and where she forwards"),
        ((), "needs the quantum channel"),
        (("--attack", "man-in-the-middle"), "needs the classical channel"),
        (("--attack", "nonsense"), "no attack 'nonsense'"),
        (("--attack", "noise:fraction=0.1", "--fraction", "0.2"), "fraction is given twice"),
    ],
)
def test_wrong_use_is_named(arguments: tuple[str, ...], words: str) -> None:
    done = CliRunner().invoke(modem, ["eve", *arguments])
    assert done.exit_code != 0
    assert words in done.output + str(done.exception)
