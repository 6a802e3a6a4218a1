"""Each rule of the suite bites: a driver that breaks it fails, one that keeps all passes all."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from qkd_hal.testing.conformance import FullConformance
from tests.testing.broken_drivers import BROKEN, LEFT_OPEN
from tests.testing.memory_pair import EVERYTHING, PLAIN, TOKEN, MemoryDriver
from tests.testing.memory_suite import MemorySuite

if TYPE_CHECKING:
    from collections.abc import Iterator


ONE_RULE = """
from tests.testing.broken_drivers import BROKEN
from tests.testing.memory_suite import memory_suite

TestBroken = memory_suite(BROKEN[{number}].driver, BROKEN[{number}].claims)
"""


class TestEverything(MemorySuite):
    """Boxes that can do all there is."""

    claims = (EVERYTHING,)


class TestPlain(MemorySuite):
    """Boxes with sessions and nothing else."""

    driver = MemoryDriver
    claims = (PLAIN,)


class TestToken(MemorySuite):
    """Boxes that keep their keys inside."""

    claims = (TOKEN,)


class TestUnlikeEnds(MemorySuite):
    """A box that lets keys out, and one that does not."""

    claims = (EVERYTHING, TOKEN)


class TestUnlikeEndsTheOtherWay(MemorySuite):
    """The same with the ends exchanged."""

    claims = (TOKEN, EVERYTHING)


@pytest.fixture(autouse=True)
def _closed_files() -> Iterator[None]:
    yield
    while LEFT_OPEN:
        os.close(LEFT_OPEN.pop())


@pytest.mark.parametrize("number", range(len(BROKEN)), ids=map(str, BROKEN))
def test_a_broken_driver_fails_its_rule(
    number: int, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = BROKEN[number]
    pytester.makepyfile(test_it=ONE_RULE.format(number=number))
    broken.patches(monkeypatch)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # a third of the time
    result = pytester.inline_run(
        "-p", "qkd_hal.testing.plugin", f"test_it.py::TestBroken::{broken.rule}"
    )
    failures = [report for report in result.getreports() if report.failed]
    assert len(failures) == 1
    assert broken.says in str(failures[0].longrepr)


def test_every_rule_has_a_driver_that_breaks_it() -> None:
    rules = {name for name in dir(FullConformance) if name.startswith("test_")}
    assert {broken.rule for broken in BROKEN} == rules
