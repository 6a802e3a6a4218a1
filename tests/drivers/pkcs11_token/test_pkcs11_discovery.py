"""Tokens are listed without logging in; what fails is an entry with its reason and cure."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from qkd_hal import discover, open_device
from qkd_hal.errors import DevicePermissionError
from qkd_hal.keys import Origin, Provenance
from qkd_hal_drivers.pkcs11_token import _modules, discovery
from qkd_hal_drivers.pkcs11_token._library import load
from tests.drivers.pkcs11_token.conftest import MODULE

if TYPE_CHECKING:
    from pathlib import Path

    from qkd_hal.discovery import DiscoveredDevice
    from tests.drivers.pkcs11_token.conftest import TokenPair

pytestmark = pytest.mark.needs("softhsm2-util")


@pytest.fixture(autouse=True)
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine on which nothing is configured; returns p11-kit's directory."""
    directory = tmp_path / "p11-kit"
    directory.mkdir()
    monkeypatch.setattr(_modules, "_CONFIGURED", (directory,))
    monkeypatch.delenv("QKD_HAL_PKCS11_MODULE", raising=False)
    monkeypatch.delenv("QKD_HAL_CONFIG", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    monkeypatch.chdir(tmp_path)
    return directory


def found() -> dict[str, DiscoveredDevice]:
    """What is found, by token label or, where there is none, by model."""
    by_name = {}
    for device in discovery.discover():
        label = device.url.partition("token=")[2].partition(";")[0]
        by_name[label or device.model] = device
    return by_name


def test_nothing_is_found_where_nothing_is_configured(tokens: TokenPair) -> None:
    assert not found()


def test_tokens_are_listed_and_no_session_is_opened(
    tokens: TokenPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QKD_HAL_PKCS11_MODULE", str(MODULE))
    listed = found()
    alice = listed["alice"]
    assert (alice.vendor, alice.model) == ("SoftHSM project", "SoftHSM v2")
    assert alice.provenance == Provenance(Origin.UNKNOWN)
    assert alice.usable
    assert alice.known
    assert alice.serial_number != listed["bob"].serial_number
    assert alice.change_token != listed["bob"].change_token
    assert not load(MODULE).sessions
    with open_device(f"{alice.url}&pin-source=file:{tokens.pin_file}") as device:
        assert device.info.serial_number == alice.serial_number
    blank = listed["SoftHSM v2"]
    assert (blank.url, blank.usable, blank.reason) == ("", False, "the token is not initialised")


def test_a_token_that_will_be_refused_says_so_beforehand(
    tokens: TokenPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QKD_HAL_PKCS11_MODULE", str(MODULE))
    tokens.pin_file.write_text("66666666")
    with pytest.raises(DevicePermissionError):
        open_device(tokens.url("alice")).init()
    listed = found()
    assert not listed["alice"].usable
    assert "wrong PIN" in listed["alice"].reason
    assert listed["alice"].cure
    assert listed["bob"].usable


def test_a_token_that_only_p11_kit_knows_may_be_anything(
    tokens: TokenPair, bare_machine: Path
) -> None:
    (bare_machine / "softhsm2.module").write_text(f"module: {MODULE}\n")
    assert not found()["alice"].known
    assert "alice" not in str(discover())
    assert "alice" in str(discover(unknown=True))


def test_a_token_of_our_configuration_is_known(
    tokens: TokenPair, bare_machine: Path, tmp_path: Path
) -> None:
    (bare_machine / "softhsm2.module").write_text(f"module: {MODULE}\n")
    (tmp_path / "qkd-hal.toml").write_text(
        f'[site]\nname = "alice"\n[devices.token]\nurl = "{tokens.url("alice")}"\n'
        '[devices.other]\nurl = "serial:///dev/ttyUSB0"\n'
    )
    assert found()["alice"].known


def test_a_broken_configuration_is_an_entry(tokens: TokenPair, tmp_path: Path) -> None:
    (tmp_path / "qkd-hal.toml").write_text("[devices")
    entries = [device for device in discover() if device.model == "pkcs11"]
    assert len(entries) == 1
    assert "not TOML" in entries[0].reason


@pytest.mark.parametrize("known", [True, False])
def test_a_module_that_fails_is_an_entry_and_hides_no_other(
    tokens: TokenPair, bare_machine: Path, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    paths = [str(MODULE), "/nowhere/vendor.so"]
    if known:
        monkeypatch.setenv("QKD_HAL_PKCS11_MODULE", ":".join(paths))
    else:
        for number, path in enumerate(paths):
            (bare_machine / f"{number}.module").write_text(f"module: {path}\n")
    listed = found()
    failed = listed["vendor.so"]
    assert (failed.usable, failed.known) == (False, known)
    assert "No such file" in failed.reason
    assert "module-path" in failed.cure
    assert "alice" in listed


def test_the_library_is_not_loaded_where_no_module_is_configured(bare_machine: Path) -> None:
    code = (
        "import sys\n"
        "from qkd_hal_drivers.pkcs11_token import _modules, discovery\n"
        "_modules._CONFIGURED = ()\n"
        "assert not list(discovery.discover())\n"
        "assert 'pkcs11' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
