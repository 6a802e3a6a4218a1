"""The demo tells what it does: to people with a bar, to files in lines, to programs nothing."""

from __future__ import annotations

import sys

import pytest

from qkd_hal.cli.demo.narrator import narrator


def tell(*, silent: bool) -> None:
    with narrator(silent=silent) as to:
        to.say("a stage begins")
        to.show(0.0, "no figures yet")
        to.show(0.5, "half of it")


def test_programs_are_told_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    tell(silent=True)
    assert capsys.readouterr() == ("", "")


def test_a_file_gets_lines_but_not_too_many(capsys: pytest.CaptureFixture[str]) -> None:
    tell(silent=False)
    assert capsys.readouterr() == ("", "a stage begins\n  no figures yet\n")


def test_a_terminal_gets_a_bar_that_goes_away(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    tell(silent=False)
    shown = capsys.readouterr().err
    assert "a stage begins" in shown
    assert "half of it" in shown
    assert "\x1b[2K" in shown  # the line of the bar is cleared
