"""A test that lacks a part of the system skips for a user and fails on CI."""

from __future__ import annotations

from pathlib import Path

import pytest

CONFTEST = Path(__file__).with_name("conftest.py").read_text().replace("pytest_plugins", "_unused")
NEEDY = """
import pytest

@pytest.mark.needs("no-such-program")
def test_it():
    raise AssertionError("it ran")
"""


@pytest.mark.parametrize(("on_ci", "outcome"), [("", "skipped"), ("1", "errors")])
def test_a_missing_part(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, on_ci: str, outcome: str
) -> None:
    monkeypatch.setenv("QKD_HAL_NO_SKIPS", on_ci)
    part = 'SYSTEM_PARTS = {"no-such-program": "make it"'
    pytester.makeconftest(CONFTEST.replace("SYSTEM_PARTS = {", part + ", ", 1))
    pytester.makepyfile(NEEDY)
    result = pytester.runpytest("-p", "no:cacheprovider", "-rs")
    result.assert_outcomes(**{outcome: 1})
    result.stdout.fnmatch_lines(["*no-such-program is not installed: make it*"])
