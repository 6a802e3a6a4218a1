"""Running modems are found by their announcements, and hidden unless asked for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from qkd_hal.discovery import discover as discover_all
from qkd_hal_drivers.optical_modem.discovery import discover

if TYPE_CHECKING:
    from pathlib import Path

URL = "bb84+tcp://127.0.0.1:7102?credential=client.curve"


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    modems = tmp_path / "qkd-hal" / "modems"
    modems.mkdir(parents=True)
    return modems


def announce(directory: Path, **changes: object) -> None:
    fields = {"url": URL, "site": "alice", "pid": os.getpid(), **changes}
    (directory / "alice-1.json").write_text(json.dumps(fields))


def test_a_running_modem_is_found_and_says_that_it_is_simulated(directory: Path) -> None:
    announce(directory)
    (found,) = discover()
    assert (found.url, found.serial_number, found.usable) == (URL, "sim-alice", True)
    assert found.provenance.simulated
    assert str(os.getpid()) in found.change_token


def test_it_stays_hidden_unless_asked_for(directory: Path) -> None:
    announce(directory)
    assert URL not in {device.url for device in discover_all()}
    assert URL in {device.url for device in discover_all(simulators=True)}


def test_a_modem_that_died_is_listed_with_its_reason(directory: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    announce(directory, pid=ended.pid)
    (found,) = discover()
    assert not found.usable
    assert "is gone" in found.reason
    assert str(directory / "alice-1.json") in found.cure


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"url": 1, "site": 2, "pid": "x"}', "\0"])
def test_a_broken_announcement_is_listed_with_its_reason(directory: Path, content: str) -> None:
    (directory / "x.json").write_text(content)
    (found,) = discover()
    assert not found.usable
    assert "no modem's announcement" in found.reason
    assert str(directory / "x.json") in found.cure


def test_no_directory_means_no_modem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert list(discover()) == []
