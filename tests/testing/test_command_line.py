"""``pytest --pyargs qkd_hal.testing.conformance``: what a vendor runs on a box."""

from __future__ import annotations

import os
import pty
from pathlib import Path

import pytest

from qkd_hal.emulators import Disturbable
from qkd_hal.testing.conformance import FullConformance
from qkd_hal.testing.conformance._target import Hand
from tests.testing.memory_pair import BOXES, EVERYTHING, make_boxes

SUITE = ("--pyargs", "qkd_hal.testing.conformance")
RULES = sum(name.startswith("test_") for name in dir(FullConformance))
NEEDS_NO_PLUG = "a_lost_device_says_so or says_what_it_is"

OTHER_PLUGIN = """
def pytest_addoption(parser):
    parser.addoption("--device", help="the handset to emulate")
"""
ITS_TEST = """
def test_it(pytestconfig):
    assert pytestconfig.getoption("--device") == "Pixel"
"""


@pytest.fixture
def urls() -> tuple[str, str]:
    """Addresses of two boxes with the serial numbers SN-alice and SN-bob."""
    alice, bob = make_boxes(EVERYTHING)
    return f"memory:{alice}", f"memory:{bob}"


def _numbers(*sites: str) -> list[str]:
    return [f"--serial-number=SN-{site}" for site in sites]


def test_an_emulator_is_put_to_every_check(bare_pytester: pytest.Pytester) -> None:
    result = bare_pytester.runpytest_inprocess(*SUITE, "--emulator", "memory")
    result.assert_outcomes(passed=RULES)


def test_two_boxes_by_url(bare_pytester: pytest.Pytester, urls: tuple[str, str]) -> None:
    ends = ("--device", urls[0], "--peer", urls[1], *_numbers("alice", "bob"))
    result = bare_pytester.runpytest_inprocess(*SUITE, *ends, "-rs", "-k", NEEDS_NO_PLUG)
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(["*needs --interactive*"])


def test_a_box_by_its_name(bare_pytester: pytest.Pytester, urls: tuple[str, str]) -> None:
    (bare_pytester.path / "qkd-hal.toml").write_text(f'[devices.lab]\nurl = "{urls[0]}"\n')
    options = ("--device", "lab", *_numbers("alice"), "-k", "opened_again or opens_nothing")
    bare_pytester.runpytest_inprocess(*SUITE, *options).assert_outcomes(passed=2)


def test_one_end_alone_is_checked_as_far_as_that_goes(
    bare_pytester: pytest.Pytester, urls: tuple[str, str]
) -> None:
    one = ("--device", urls[0], *_numbers("alice"), "-rs")
    result = bare_pytester.runpytest_inprocess(*SUITE, *one)
    outcomes = result.parseoutcomes()
    assert set(outcomes) == {"passed", "skipped"}
    assert outcomes["passed"] >= 25
    result.stdout.fnmatch_lines(["*needs --peer*"])


@pytest.mark.parametrize("given", [(), ("alice",), ("bob",)])
def test_a_box_that_was_not_named_keeps_its_keys(
    given: tuple[str, ...], bare_pytester: pytest.Pytester, urls: tuple[str, str]
) -> None:
    ends = ("--device", urls[0], "--peer", urls[1], *_numbers(*given))
    result = bare_pytester.runpytest_inprocess(*SUITE, *ends)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    other = "bob" if given == ("alice",) else "alice"
    result.stdout.fnmatch_lines([f"*may, add --serial-number SN-{other}*"])
    assert BOXES[urls[0].partition(":")[2]].keys == {}


def test_a_box_that_is_not_there_ends_the_run(
    bare_pytester: pytest.Pytester, urls: tuple[str, str]
) -> None:
    BOXES[urls[0].partition(":")[2]].plugged = False
    result = bare_pytester.runpytest_inprocess(*SUITE, "--device", urls[0])
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stdout.fnmatch_lines(["*nothing is plugged in*"])


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ((), "*say what to test*"),
        (("--device", "a:b", "--emulator", "memory"), "*say what to test*"),
        (("--emulator", "memory", "--peer", "a:b"), "*other end of a --device*"),
    ],
)
def test_a_run_that_makes_no_sense_is_refused(
    options: tuple[str, ...], why: str, bare_pytester: pytest.Pytester
) -> None:
    result = bare_pytester.runpytest_inprocess(*SUITE, *options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([why])


def test_help_tells_the_options(bare_pytester: pytest.Pytester) -> None:
    result = bare_pytester.runpytest_inprocess(*SUITE, "--help")
    result.stdout.fnmatch_lines(["*--device=URL*", "*--serial-number=N*"])


def test_listing_the_checks_needs_no_device(bare_pytester: pytest.Pytester) -> None:
    result = bare_pytester.runpytest_inprocess(*SUITE, "--collect-only", "-q")
    assert result.ret == pytest.ExitCode.OK


def test_a_run_of_something_else_has_none_of_the_options(bare_pytester: pytest.Pytester) -> None:
    bare_pytester.makepyfile(test_it=ITS_TEST, other_plugin=OTHER_PLUGIN)
    bare_pytester.syspathinsert()
    result = bare_pytester.runpytest_inprocess("-p", "other_plugin", "--device", "Pixel")
    result.assert_outcomes(passed=1)


def test_a_name_that_another_plug_in_took_is_left_to_it(
    bare_pytester: pytest.Pytester, urls: tuple[str, str]
) -> None:
    bare_pytester.makepyfile(other_plugin=OTHER_PLUGIN)
    bare_pytester.syspathinsert()
    both = ("--device", "Pixel", "--qkd-device", urls[0], *_numbers("alice"))
    options = ("-p", "other_plugin", *both, "-k", "says_what_it_is")
    bare_pytester.runpytest_inprocess(*SUITE, *options).assert_outcomes(passed=1)


def test_the_checks_collected_by_accident_are_skipped(bare_pytester: pytest.Pytester) -> None:
    module = Path(__file__).parents[2] / "qkd_hal" / "testing"
    result = bare_pytester.runpytest_inprocess(str(module), "-rs", "-c", os.devnull)
    result.assert_outcomes(skipped=RULES)
    result.stdout.fnmatch_lines(["*runs as: pytest --pyargs*"])


def test_a_person_is_asked_once_for_each_move() -> None:
    person, terminal = pty.openpty()
    try:
        hand = Hand(("memory:a",), Path(os.ttyname(terminal)))
        assert isinstance(hand, Disturbable)
        os.write(person, b"\n\n")
        hand.plug("alice")
        hand.unplug("alice")
        hand.unplug("alice")
        hand.plug("alice")
        asked = ""
        while "in again, then press Enter" not in asked:
            asked += os.read(person, 4096).decode()
    finally:
        os.close(person)
        os.close(terminal)
    assert asked.count("Unplug memory:a, then press Enter") == 1
    assert asked.count("Plug memory:a in again, then press Enter") == 1
