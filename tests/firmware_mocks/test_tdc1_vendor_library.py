"""The vendor's own host library, unmodified, on our mock in a process of its own.

This is what tells that the mock speaks the unit's language and not our driver's.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from qkd_hal_firmware_mocks.tdc1.clicks import steady_clicks

if TYPE_CHECKING:
    from collections.abc import Iterator

RATES = (2000.0, 1000.0, 500.0, 250.0)
SEED = 11
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("S15lib") is None,
    reason="S15lib is not installed, for want of a C compiler: pip install --no-deps S15lib",
)

SESSION = """
import json, sys
from S15lib.instruments import SerialConnection, TimestampTDC1
from S15lib.instruments.serial_connection import SerialConnection

with SerialConnection(sys.argv[1]) as line:
    told = {"identity": line.get_identity(), "help": line.get_help()}
unit = TimestampTDC1(sys.argv[1])
told |= {"mode": unit.mode, "int_time": unit.int_time}
unit.int_time = 40
told["long"] = unit.int_time
told["counts"] = unit.get_counts(0.5)
told["pairs"] = unit.get_counts_and_coincidences(0.5)
unit.threshold = -0.25
told["negative"] = unit.level.decode()
unit.level = "TTL"
told["ttl"] = unit.level.decode()
unit.clock = "2"
told["clock"] = unit.clock.decode()
times, channels = unit.get_timestamps(0.6, legacy=False)
told |= {"times": times.tolist(), "channels": channels.tolist(), "after": unit.mode}
json.dump(told, sys.stdout)
"""


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    ready = tmp_path_factory.mktemp("tdc1") / "ready"
    rates = ",".join(map(str, RATES))
    command = [str(Path(sys.executable).with_name("qkd-hal-mock")), "tdc1", "--rates", rates]
    options = ["--seed", str(SEED), "--ready-file", str(ready), "--die-with-parent"]
    with subprocess.Popen(
        [*command, *options], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as mock:
        assert mock.stdout is not None
        announced = json.loads(mock.stdout.readline())
        assert json.loads(ready.read_text()) == announced
        yield announced["port"]
        mock.terminate()
        assert mock.wait(10) == 0


@pytest.fixture(scope="module")
def told(port: str) -> dict[str, Any]:
    """What the library read from the mock."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SESSION, port],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    answers: dict[str, Any] = json.loads(done.stdout)
    return answers


def _true(seconds: float) -> list[tuple[int, int]]:
    clicks = takewhile(lambda c: c[0] < seconds * 5e8, steady_clicks(RATES, seed=SEED))
    return [(2 * tick, pattern) for tick, pattern in clicks]


def test_it_finds_the_unit(told: dict[str, Any]) -> None:
    assert told["identity"].startswith("TDC1 simulated")
    assert "TIMESTAMP" in told["help"]
    assert (told["mode"], told["int_time"], told["long"]) == ("singles", 1000, 40000)


def test_its_settings_take(told: dict[str, Any]) -> None:
    assert (told["negative"], told["ttl"]) == ("-0.250 V\r\n", "1.000 V\r\n")
    assert told["clock"] == "2\r\n"


def test_it_counts_what_the_inputs_saw(told: dict[str, Any]) -> None:
    patterns = [pattern for _, pattern in _true(0.5)]
    singles = [sum(p >> n & 1 for p in patterns) for n in range(4)]
    assert told["counts"] == singles
    assert told["pairs"][:4] == singles


def test_it_reads_the_times_and_inputs_of_every_click(told: dict[str, Any]) -> None:
    got = list(zip(told["times"], told["channels"], strict=True))
    assert [click for click in got if click[1]] == _true(0.6)
    assert [time for time, inputs in got if not inputs] == [n << 27 for n in range(1, 5)]
    assert told["after"] == "timestamp"
