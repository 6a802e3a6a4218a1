"""`qkd-hal udev`: the rules are shown, asked about, written whole and taken away again."""

from __future__ import annotations

import grp
import os
import stat
import subprocess
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from qkd_hal.cli._run import run
from qkd_hal.cli.commands import root as command
from qkd_hal.cli.udev import daemon
from qkd_hal.cli.udev.rules import RULES_FILE, read_rules

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from click.testing import Result
    from pytest_mock import MockerFixture


def udev(*arguments: str, answer: str = "") -> Result:
    return CliRunner().invoke(command, ["udev", *arguments], input=answer, catch_exceptions=False)


def test_the_rules_are_shown_as_they_are_written(tmp_path: Path) -> None:
    assert udev("show").stdout == read_rules()
    udev("install", "--root", str(tmp_path), "--yes")
    assert (tmp_path / RULES_FILE).read_text() == read_rules()


def test_their_number_is_below_that_of_uaccess() -> None:
    assert RULES_FILE.name < "73-seat-late.rules"
    assert RULES_FILE.parts[:3] == ("etc", "udev", "rules.d")


def test_they_match_no_borrowed_vendor_number() -> None:
    rules = read_rules()
    assert "1209" not in rules
    assert [line for line in rules.splitlines() if "idVendor" in line] == [
        'ATTR{idVendor}=="0aba", ATTR{idProduct}=="0102", ENV{QKD_HAL}="quantis"'
    ]


def test_every_jump_has_its_label() -> None:
    words = read_rules().replace('"', " ").split()
    jumps = {words[i + 1] for i, word in enumerate(words) if word.endswith("GOTO=")}
    labels = {words[i + 1] for i, word in enumerate(words) if word.endswith("LABEL=")}
    assert jumps == labels


@pytest.mark.parametrize(("answer", "written"), [("y\n", True), ("n\n", False), ("", False)])
def test_installing_shows_and_asks(answer: str, written: bool, tmp_path: Path) -> None:
    done = udev("install", "--root", str(tmp_path), answer=answer)
    assert read_rules() in done.stdout
    assert str(tmp_path / RULES_FILE) in done.stdout
    assert (tmp_path / RULES_FILE).exists() is written
    assert (done.exit_code == 0) is written


def test_what_is_written_everybody_can_read(
    qkd_hal: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    done = qkd_hal("udev", "install", "--yes", "--root", str(tmp_path))
    assert done.returncode == 0, done.stderr
    file = tmp_path / RULES_FILE
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (file, file.parent, file.parents[1])]
    assert modes == [0o644, 0o755, 0o755]
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_an_older_version_is_replaced_and_a_link_is_not_followed(tmp_path: Path) -> None:
    file = tmp_path / RULES_FILE
    file.parent.mkdir(parents=True)
    (tmp_path / "precious").write_text("precious")
    file.symlink_to(tmp_path / "precious")
    assert udev("install", "--yes", "--root", str(tmp_path)).exit_code == 0
    assert file.read_text() == read_rules()
    assert (tmp_path / "precious").read_text() == "precious"


@pytest.mark.parametrize(("answer", "gone"), [("y\n", True), ("n\n", False)])
def test_removing_asks_and_removes(answer: str, gone: bool, tmp_path: Path) -> None:
    udev("install", "--yes", "--root", str(tmp_path))
    udev("remove", "--root", str(tmp_path), answer=answer)
    assert (tmp_path / RULES_FILE).exists() is not gone


def test_removing_what_is_not_there_says_so(tmp_path: Path) -> None:
    done = udev("remove", "--yes", "--root", str(tmp_path))
    assert (done.exit_code, "There is no" in done.stdout) == (0, True)


def test_without_the_right_the_cure_is_sudo(
    tmp_path: Path, mocker: MockerFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    mocker.patch("tempfile.mkstemp", side_effect=PermissionError)  # nothing refuses root
    assert run(command, ["udev", "install", "--yes", "--root", str(tmp_path)]) == 4
    assert "with sudo" in capsys.readouterr().err


def test_a_full_disk_leaves_nothing_behind(
    tmp_path: Path, mocker: MockerFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    mocker.patch("os.fsync", side_effect=OSError(28, "No space left on device"))
    assert run(command, ["udev", "install", "--yes", "--root", str(tmp_path)]) == 3
    assert "No space left" in capsys.readouterr().err
    assert list((tmp_path / RULES_FILE).parent.iterdir()) == []


@pytest.fixture
def udevadm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Put a script in the place of udevadm; it notes how it was called."""

    def put(ending: str) -> Path:
        script, calls = tmp_path / "udevadm", tmp_path / "calls"
        script.write_text(f'#!/bin/sh\necho "$@" >> {calls}\n{ending}\n')
        script.chmod(0o755)
        monkeypatch.setattr(daemon, "_PATH", str(tmp_path))
        return calls

    return put


def test_udevd_is_told_to_read_and_to_apply(udevadm: Callable[[str], Path]) -> None:
    calls = udevadm("exit 0")
    assert "now" in daemon.reload_rules()[0]
    first, second = calls.read_text().splitlines()
    assert first == "control --reload"
    assert second == "trigger --action=change --subsystem-match=usb --subsystem-match=tty"


@pytest.mark.parametrize("ending", ["exit 1", "exec sleep 60"])
def test_a_udevd_that_does_not_listen_is_no_failure(
    ending: str, udevadm: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    udevadm(ending)
    monkeypatch.setattr(daemon, "_SECONDS", 0.2)
    assert "plug the devices in again" in daemon.reload_rules()[0]


def test_a_machine_without_udev_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon, "_PATH", str(tmp_path))
    assert "No udevadm" in daemon.reload_rules()[0]


def test_below_another_root_udevd_is_told_nothing(
    udevadm: Callable[[str], Path], tmp_path: Path
) -> None:
    calls = udevadm("exit 0")
    udev("install", "--yes", "--root", str(tmp_path / "image"))
    assert not calls.exists()


def test_the_group_is_named_with_what_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon, "_GROUP", grp.getgrgid(os.getgid()).gr_name)
    assert "usermod" in daemon.advice()[0]
    monkeypatch.setattr(daemon, "_GROUP", "no-such-group")
    assert "groupadd --system no-such-group" in daemon.advice()[0]
