"""The simulated modems pass the checks that we ask of every vendor."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from qkd_hal.testing.conformance import DeviceConformance, Pair

if TYPE_CHECKING:
    from pathlib import Path

    from qkd_hal.testing.link import QKDLink

SOMEBODY_ELSES_BOX = """
import pytest
from qkd_hal.testing.conformance import DeviceConformance

class TestSomebodyElsesBox(DeviceConformance):
    serial_numbers = frozenset({"mine"})

    @pytest.fixture
    def pair(self, qkd_link):
        return qkd_link.alice, qkd_link.bob
"""


class TestOpticalModem(DeviceConformance):
    """Both ends of one link, from the fixture that users get."""

    @pytest.fixture
    def pair(self, qkd_link: QKDLink, monkeypatch: pytest.MonkeyPatch) -> Pair:
        pair = (qkd_link.alice, qkd_link.bob)
        numbers = frozenset(device.info.serial_number for device in pair)
        monkeypatch.setattr(type(self), "serial_numbers", numbers)
        return pair


def test_a_box_that_was_not_named_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "test_box.py").write_text(SOMEBODY_ELSES_BOX)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-k", "both_ends_hold", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert "is not in TestSomebodyElsesBox.serial_numbers" in done.stdout
    assert "1 error" in done.stdout
