"""The demo on other devices than its modems: the same TLS session, and the same report."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from qkd_hal.emulators import start_emulator
from qkd_hal.errors import DeviceError

if TYPE_CHECKING:
    from collections.abc import Callable

DEMO = (sys.executable, "-m", "qkd_hal", "demo", "--short", "--json")
EMULATORS = ["box"]


def run(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*DEMO, *options], capture_output=True, timeout=90, check=False, text=True
    )


def report_of(*options: str) -> dict[str, Any]:
    done = run(*options)
    assert (done.returncode, done.stderr) == (0, "")
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def check(report: dict[str, Any]) -> None:
    assert [device["site"] for device in report["devices"]] == ["alice", "bob"]
    assert report["pulses"] is report["secret_bits"] is None
    assert report["bytes_moved"] == 2 * 1024 * 1024
    assert (report["tls"]["protection"], report["tls"]["simulated"]) == ("quantum+hybrid", True)
    assert report["after_drain"]["error"]["code"] == "keys-exhausted"
    assert len(set(report["key_ids"])) == report["after_drain"]["handshakes_before"] + 2


@pytest.mark.parametrize("emulator", EMULATORS)
def test_an_emulated_device_keys_the_same_session(emulator: str) -> None:
    check(report_of("--device", emulator))


def test_two_devices_by_url_stay_open_for_the_next() -> None:
    pair = start_emulator("box")
    try:
        for _ in range(2):
            check(report_of("--device", pair.alice_url, "--peer-device", pair.bob_url))
    finally:
        pair.close()


def test_the_table_names_the_devices() -> None:
    command = [part for part in DEMO if part != "--json"]
    done = subprocess.run(
        [*command, "--device", "box"], capture_output=True, timeout=90, check=False, text=True
    )
    assert done.returncode == 0
    assert "MOCK-ALICE" in done.stdout
    assert "sifted bits" not in done.stdout


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--device", "serial:///dev/null"), 2, "two of them"),
        (("--device", "box", "--peer-device", "serial:///dev/null"), 2, "two of them"),
        (("--peer-device", "serial:///dev/null"), 2, "goes with"),
        (("--device", "box", "--eve", "intercept-resend"), 2, "--eve"),
        (("--device", "nonsuch"), 3, "no emulator is called"),
    ],
)
def test_wrong_use_is_named(options: tuple[str, ...], code: int, words: str) -> None:
    done = run(*options)
    assert done.returncode == code
    assert words in done.stderr + done.stdout


def test_an_emulator_that_does_not_start_is_an_error_of_our_tree(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(**_: object) -> None:
        raise RuntimeError("no pseudo-terminal left")

    loaded: Callable[[object], object] = lambda _point: broken  # noqa: E731
    monkeypatch.setattr("qkd_hal.plugins.load", loaded)
    with pytest.raises(DeviceError, match="no pseudo-terminal left"):
        start_emulator("box")
