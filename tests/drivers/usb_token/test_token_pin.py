"""The PIN: where it comes from, and that nothing unattended can burn it."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from qkd_hal import open_device
from qkd_hal.errors import ConfigurationError, DeviceError, DevicePermissionError
from tests.drivers.usb_token.conftest import PIN

if TYPE_CHECKING:
    from pathlib import Path

    from tests.drivers.usb_token.conftest import Cards, UsbTokens

RESTARTS = 5
WRONG = b"wrong-pin"
OPEN = "import qkd_hal, sys; qkd_hal.open_device(sys.argv[1]).init()"


@pytest.mark.needs("vpcd-config")
def test_a_service_that_restarts_with_a_wrong_pin_burns_one_try(cards: Cards) -> None:
    """Each start is a process of its own, which remembers nothing of the others."""
    cards.pin_file.write_bytes(WRONG)
    told = []
    try:
        for _ in range(RESTARTS):
            done = subprocess.run(
                [sys.executable, "-c", OPEN, cards.url("bob")],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert done.returncode != 0
            told.append(done.stderr)
    finally:
        cards.pin_file.write_bytes(PIN)
    assert "2 tries are left" in told[0]
    assert all("qkd-hal token verify" in words for words in told[1:])
    facts = cards.applets[1].transmit(bytes.fromhex("00A4040008F0514B4448414C0100"))
    assert facts.endswith(b"\x90\x00")
    assert cards.applets[1].transmit(bytes.fromhex("00200081")) == b"\x63\xc2"


def test_a_loop_in_one_process_burns_one_try(tokens: UsbTokens) -> None:
    tokens.write_pin(WRONG)
    for _ in range(RESTARTS):
        with pytest.raises(DevicePermissionError):
            open_device(tokens.url("alice")).init()
    assert tokens.tries("alice") == 2


def test_even_the_right_pin_waits_for_a_person_once_a_wrong_one_was_given(
    tokens: UsbTokens,
) -> None:
    tokens.write_pin(WRONG)
    with pytest.raises(DevicePermissionError, match="2 tries are left"):
        open_device(tokens.url("alice")).init()
    tokens.write_pin(PIN)
    with pytest.raises(DevicePermissionError, match="none is risked unattended"):
        open_device(tokens.url("alice")).init()
    assert tokens.tries("alice") == 2


def test_a_disturbed_verify_burns_nothing(tokens: UsbTokens) -> None:
    for fault in ("wrong-pin", "drop", "halt", "hardware-error", "unknown-status", "reset"):
        tokens.plan.once(f"{fault}@VERIFY")
        try:
            with open_device(tokens.url("alice"), timeout=0.5) as device:
                device.status()
        except DeviceError:
            pass
        except TimeoutError:
            pass
        tokens.plan._script.clear()
        assert tokens.tries("alice") == 3, fault


def test_it_comes_from_the_environment(tokens: UsbTokens, monkeypatch: pytest.MonkeyPatch) -> None:
    url = tokens.url("alice").partition("?")[0]
    with pytest.raises(ConfigurationError, match="pin-source"):
        open_device(url).init()
    monkeypatch.setenv("QKD_HAL_PIN", PIN.decode())
    with open_device(url) as device:
        assert device.info.site == "alice"


def test_a_file_that_others_may_read_is_refused(tokens: UsbTokens, tmp_path: Path) -> None:
    tokens.pin_file.chmod(0o640)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        open_device(tokens.url("alice")).init()
    tokens.pin_file.chmod(0o600)
    tokens.write_pin(b"x" * 17)
    with pytest.raises(ConfigurationError, match="6 to 16"):
        open_device(tokens.url("alice")).init()
    assert tokens.tries("alice") == 3
