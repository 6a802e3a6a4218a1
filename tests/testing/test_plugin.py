"""The plug-in is cheap for those who do not use it, and gives a link to those who do."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import psutil  # type: ignore[import-untyped]
import pytest

from qkd_hal.errors import ConfigurationError, DeviceError, DeviceLostError, UnsupportedError
from qkd_hal.testing.link import QKDLink
from tests.testing.memory_pair import Cutter

if TYPE_CHECKING:
    from pathlib import Path

ROUGH_TESTS = """
import pytest
from qkd_hal.errors import DeviceLostError

@pytest.mark.parametrize("name", ["qkd_box", "qkd_token"])
@pytest.mark.parametrize("turn", [1, 2])
def test_rough(name, turn, request):
    link = request.getfixturevalue(name)
    key_id = link.alice.start("bob").key_id
    with link.bob.start("alice", key_id=key_id) as session:
        session.connect()
    assert "stall" in link.faults
    link.fault("alice", "stall")
    link.unplug("bob")
    with pytest.raises(DeviceLostError):
        link.bob.status()
    link.alice.close()
"""

PROGRAM = """
import json, sys
import qkd_hal.testing.plugin
print(json.dumps(sorted(sys.modules)))
"""


def test_loading_the_plug_in_loads_nothing_heavy() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, check=True)
    loaded = set(json.loads(done.stdout))
    assert not loaded & {"numpy", "zmq", "OpenSSL", "click", "qkd_hal.device", "qkd_hal.registry"}


def test_the_fixture_gives_two_ends_of_one_link(qkd_link: QKDLink) -> None:
    assert qkd_link.alice.info.site != qkd_link.bob.info.site
    assert qkd_link.alice_url != qkd_link.bob_url
    assert qkd_link.alice.info.provenance.simulated


def test_the_fixture_gives_boxes_to_break(qkd_box: QKDLink) -> None:
    qkd_box.unplug("alice")
    with pytest.raises(DeviceLostError):
        qkd_box.alice.status()
    qkd_box.plug("alice")
    qkd_box.alice.init()
    with qkd_box.alice.start() as ours:
        ours.connect()
        key = qkd_box.bob.get_key_by_id(ours.key_id, qkd_box.alice.info.site)
        assert key.matches(ours.get_key())


def test_an_unknown_emulator_names_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match="known are bb84"):
        QKDLink("abacus")


def test_closing_a_link_leaves_no_process(tmp_path: Path) -> None:
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    with QKDLink("bb84", preset="short"):
        during = {child.pid for child in psutil.Process().children(recursive=True)}
        assert len(during - before) >= 2
    after = {child.pid for child in psutil.Process().children(recursive=True)}
    assert after <= before


def test_a_link_that_cannot_start_leaves_no_process() -> None:
    before = psutil.Process().children(recursive=True)
    with pytest.raises(DeviceError):
        QKDLink("bb84", preset="no-such-preset")
    assert psutil.Process().children(recursive=True) == before


def test_boxes_and_tokens_are_well_again_for_the_next_test(bare_pytester: pytest.Pytester) -> None:
    bare_pytester.makepyfile(test_rough=ROUGH_TESTS)
    bare_pytester.runpytest_inprocess().assert_outcomes(passed=4)


@pytest.mark.usefixtures("memory_boxes")
def test_a_device_that_was_plugged_in_again_can_be_opened_again() -> None:
    with QKDLink("box") as link:
        link.unplug("alice")
        with pytest.raises(DeviceLostError):
            link.alice.status()
        link.plug("alice")
        link.alice.init()
        link.alice.status()


def test_an_emulator_without_hooks_says_so(
    memory_boxes: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(Cutter, "fault")
    with QKDLink("box") as link:
        with pytest.raises(UnsupportedError, match="cannot be disturbed"):
            link.unplug("alice")
        link.heal()
