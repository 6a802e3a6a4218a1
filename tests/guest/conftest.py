"""One boot of a guest per test session, and what pytest said inside it."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
IN_GUEST = os.environ.get("QKD_HAL_USB_WORLD") == "kernel"
SECONDS = 400.0  # for a shared machine that stalls; a quarter of it is what the guest takes
CANNOT_BUILD = 3
NO_GUEST = "this machine builds no guest"

SHARED = [
    "tests/usb/test_transfers.py",
    "tests/usb/test_quantis.py",
    "tests/usb/test_usb_box.py",
    "tests/drivers/usb_token/test_token_usb.py",
]
"""Tests that also run on this machine, and take `usb_world`."""

collect_ignore = [] if IN_GUEST else ["inside"]


def guest_files() -> list[str]:
    """What runs in the guest, relative to the root of the repository."""
    inside = sorted(HERE.glob("inside/**/test_*.py"))
    return SHARED + [str(path.relative_to(ROOT)) for path in inside]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one test of this machine for each file in the guest."""
    if "guest_file" in metafunc.fixturenames:
        metafunc.parametrize("guest_file", guest_files())


@dataclass(frozen=True)
class Case:
    """One test in the guest. ``outcome`` is ``passed``, ``failed``, ``skipped`` or ``error``."""

    name: str
    outcome: str
    text: str


@pytest.fixture(scope="session")
def guest_cases(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[Case]]:
    """Boot, unless another worker of this session has done so; give the tests of a file."""
    results = tmp_path_factory.getbasetemp() / "guest"
    if "PYTEST_XDIST_WORKER" in os.environ:
        results = tmp_path_factory.getbasetemp().parent / "guest"
    results.mkdir(exist_ok=True)
    with (results / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (results / "said").exists():
            _boot(results)
    said, cases = (results / "said").read_text(), _cases(results / "junit.xml")
    if said.startswith(NO_GUEST):
        pytest.skip(said)

    def of_file(path: str) -> list[Case]:
        assert path in cases, f"nothing ran:\n{said[-4000:]}"
        return cases[path]

    return of_file


def _boot(results: Path) -> None:
    command = [
        *(sys.executable, str(HERE / "kit/run.py")),
        *("--results", str(results), "--seconds", str(SECONDS)),
        _pytest_command(),
    ]
    environment = {**os.environ, "QKD_HAL_USB_WORLD": "kernel"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode == CANNOT_BUILD and not (results / "console").exists():
        done.stdout = f"{NO_GUEST}: {done.stderr.strip().splitlines()[-1]}"
    (results / "said").write_text(done.stdout + done.stderr)


def _pytest_command() -> str:
    # Each plug-in costs an emulated processor a second; these are the ones that tests use.
    plugins = "pytest_timeout", "pytest_mock", "qkd_hal.testing.plugin", "no:cacheprovider"
    options = [
        *(f"-p {each}" for each in plugins),
        *("-q", "--color=no", "--tb=short", "--continue-on-collection-errors"),
        *("-o junit_family=xunit1", "--junitxml=/run/results/junit.xml", "--basetemp=/run/pytest"),
    ]
    return (
        "export PYTHONDONTWRITEBYTECODE=1 PYTEST_DISABLE_PLUGIN_AUTOLOAD=1\n"
        f"{sys.executable} -m pytest {' '.join(options + guest_files())}"
    )


def _cases(report: Path) -> dict[str, list[Case]]:
    cases: dict[str, list[Case]] = {}
    if report.exists():
        for each in ET.parse(report).iter("testcase"):  # noqa: S314 - our own guest wrote it
            cases.setdefault(each.get("file", ""), []).append(_case(each))
    return cases


def _case(element: ET.Element) -> Case:
    tags = {"failure": "failed", "error": "error", "skipped": "skipped"}
    ends = [each for each in element if each.tag in tags]
    outcome = tags[ends[0].tag] if ends else "passed"
    text = "\n".join(f"{each.get('message', '')}\n{each.text or ''}" for each in ends)
    return Case(element.get("name", ""), outcome, text)
