"""The simulated modems pass the checks that we ask of every vendor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qkd_hal.emulators import Disturbable, start_emulator
from qkd_hal.registry import open_device
from qkd_hal.testing.conformance import FullConformance, Pair

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qkd_hal.emulators import EmulatedPair

SOMEBODY_ELSES_BOX = """
import pytest
from qkd_hal.testing.conformance import DeviceConformance

class TestSomebodyElsesBox(DeviceConformance):
    serial_numbers = frozenset({"mine"})

    @pytest.fixture
    def pair(self, qkd_box):
        return qkd_box.alice, qkd_box.bob
"""


@pytest.fixture(scope="module")
def modems() -> Iterator[EmulatedPair]:
    """Modems of our own: the checks kill them."""
    pair = start_emulator("bb84", preset="short")
    yield pair
    pair.close()


class TestOpticalModem(FullConformance):
    """Both ends of one link, cut off by killing and stopping their processes."""

    @pytest.fixture
    def pair(self, modems: EmulatedPair, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
        with open_device(modems.alice_url) as alice, open_device(modems.bob_url) as bob:
            numbers = frozenset({alice.info.serial_number, bob.info.serial_number})
            monkeypatch.setattr(type(self), "serial_numbers", numbers)
            yield alice, bob

    @pytest.fixture
    def disturb(self, modems: EmulatedPair) -> Disturbable:
        assert isinstance(modems, Disturbable)
        return modems


def test_a_box_that_was_not_named_is_left_alone(bare_pytester: pytest.Pytester) -> None:
    bare_pytester.makepyfile(test_box=SOMEBODY_ELSES_BOX)
    result = bare_pytester.runpytest_inprocess("-k", "both_ends_hold")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*is not in TestSomebodyElsesBox.serial_numbers*"])
