"""What users get: the fixture `qkd_token`, the suite on an emulator, and a bus left as it was."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import usb.backend.libusb1
import usb.core

from qkd_hal.errors import DeviceLostError
from qkd_hal_firmware_mocks.token.emulator import TokenPair
from qkd_hal_firmware_mocks.usb.loop_back import LoopBack
from qkd_hal_firmware_mocks.usb.virtual_bus import VirtualBus

if TYPE_CHECKING:
    from qkd_hal.testing.link import QKDLink


def test_the_fixture_gives_two_tokens_that_share_keys(qkd_token: QKDLink) -> None:
    with qkd_token.alice.start(size=32) as session:
        session.connect()
        key = qkd_token.bob.get_key_by_id(session.key_id)
        assert session.get_key().matches(key)


def test_the_fixtures_tokens_can_be_pulled_out(qkd_token: QKDLink) -> None:
    qkd_token.unplug("alice")
    with pytest.raises(DeviceLostError):
        qkd_token.alice.status()
    qkd_token.plug("alice")
    qkd_token.alice.init()
    assert qkd_token.alice.status().stored_keys


def test_the_machines_own_devices_stay_within_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = VirtualBus()
    machine.plug(LoopBack("REAL"))
    monkeypatch.setattr(
        usb.backend.libusb1, "get_backend", lambda find_library=None: machine.backend
    )

    def serials() -> set[str]:
        backend = usb.backend.libusb1.get_backend()
        return {each.serial_number for each in usb.core.find(find_all=True, backend=backend)}

    with TokenPair(keys=1):
        assert serials() == {"REAL", "MOCK-TOKEN-ALICE", "MOCK-TOKEN-BOB"}
    assert serials() == {"REAL"}


def test_nothing_is_left_of_an_emulator() -> None:
    with TokenPair(keys=1) as pair:
        file = pair.alice_url.partition("pin-source=")[2]
    with pytest.raises(FileNotFoundError):
        open(file)  # noqa: PTH123, SIM115
    pair.close()


def test_the_suite_runs_on_the_emulator_by_name() -> None:
    suite = [sys.executable, "-m", "pytest", "-q", "--pyargs", "qkd_hal.testing.conformance"]
    done = subprocess.run(
        [*suite, "--emulator", "token", "-p", "no:cacheprovider", "-k", "session"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "passed" in done.stdout
