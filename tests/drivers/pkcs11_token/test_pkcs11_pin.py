"""The PIN: from where it comes, and that a retry loop cannot burn it."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
from pkcs11 import PROTECTED_AUTH, Token, TokenFlag

from qkd_hal import open_device
from qkd_hal.errors import ConfigurationError, DevicePermissionError
from qkd_hal.registry import DeviceURL
from qkd_hal.sources import Deadline
from qkd_hal_drivers.buses.obstacles import NONE
from qkd_hal_drivers.pkcs11_token import _connection, _pin
from qkd_hal_drivers.pkcs11_token._find import find_token
from qkd_hal_drivers.pkcs11_token._flags import obstacle
from qkd_hal_drivers.pkcs11_token._pin import pin_for
from qkd_hal_drivers.pkcs11_token.driver import Pkcs11TokenDriver
from qkd_hal_drivers.pkcs11_token.uri import TokenUri

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_mock import MockerFixture

    from qkd_hal_drivers.pkcs11_token._library import Module
    from tests.drivers.pkcs11_token.conftest import TokenPair

needs_softhsm = pytest.mark.needs("softhsm2-util")
READY = TokenFlag.TOKEN_INITIALIZED | TokenFlag.LOGIN_REQUIRED | TokenFlag.USER_PIN_INITIALIZED


def token_with(flags: TokenFlag) -> Token:
    fields = SimpleNamespace(flags=flags, manufacturer_id="Vendor", serial=b"7")
    return cast("Token", fields)


def without_file(tokens: TokenPair) -> str:
    return tokens.url("alice").partition("&pin-source")[0]


def opened(url: str, pin: str | None = None) -> None:
    """Open the token at *url* and close it again."""
    driver = Pkcs11TokenDriver(DeviceURL.parse(url), pin=pin)
    driver.open(Deadline(10))
    driver.close()


@needs_softhsm
def test_a_pin_comes_from_a_file_the_environment_or_a_person(
    tokens: TokenPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    pin = tokens.pin_file.read_text().strip()
    opened(tokens.url("alice"))
    opened(without_file(tokens), pin)
    with pytest.raises(ConfigurationError, match="no PIN for the token") as caught:
        opened(without_file(tokens))
    assert "QKD_HAL_PIN" in str(caught.value)
    monkeypatch.setenv("QKD_HAL_PIN", pin)
    opened(without_file(tokens))


@needs_softhsm
def test_a_pin_file_that_others_may_read_is_refused(tokens: TokenPair) -> None:
    tokens.pin_file.chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        opened(tokens.url("alice"))


@needs_softhsm
@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe", b"1" * 256])
def test_a_file_without_a_pin_is_no_wrong_pin(tokens: TokenPair, content: bytes) -> None:
    tokens.pin_file.write_bytes(content)
    with pytest.raises(ConfigurationError, match="holds no PIN"):
        opened(tokens.url("alice"))
    with tokens.session("alice") as session:
        assert not session.token.flags & TokenFlag.USER_PIN_COUNT_LOW


def test_what_was_read_from_a_pin_file_is_overwritten(
    tmp_path: Path, mocker: MockerFixture
) -> None:
    content = bytearray(b"1234\n")
    mocker.patch.object(_pin, "read_private", return_value=content)
    uri = TokenUri.parse(f"pkcs11:?pin-source={tmp_path}/pin")
    assert pin_for(uri, token_with(READY), None) == "1234"
    assert not any(content)


@needs_softhsm
def test_a_refused_pin_is_not_sent_again(
    tokens: TokenPair, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    right = tokens.pin_file.read_text()
    tokens.pin_file.write_text("99999999\n")
    with pytest.raises(DevicePermissionError, match="refuses the PIN") as first:
        opened(tokens.url("alice"))
    with pytest.raises(DevicePermissionError, match="a wrong PIN was sent") as second:
        opened(tokens.url("alice"))
    with tokens.session("alice"):  # a person logs in with the right PIN and resets the count
        pass
    with pytest.raises(DevicePermissionError, match="refused this PIN before") as third:
        opened(tokens.url("alice"))
    told = f"{first.value} {second.value} {third.value} {caplog.text}"
    assert "99999999" not in told
    tokens.pin_file.write_text(right)
    opened(tokens.url("alice"))


@needs_softhsm
def test_after_a_wrong_pin_only_a_person_may_try_another(tokens: TokenPair) -> None:
    with pytest.raises(DevicePermissionError):
        opened(tokens.url("alice"), "88888888")
    with pytest.raises(DevicePermissionError, match="Log in once"):
        opened(tokens.url("alice"))
    opened(tokens.url("alice"), tokens.pin_file.read_text().strip())
    opened(tokens.url("alice"))


@needs_softhsm
def test_a_wrong_pin_of_another_device_meanwhile_is_the_last_that_is_sent(
    tokens: TokenPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overtaken(uri: TokenUri, deadline: Deadline) -> tuple[Module, Token]:
        token = find_token(uri, deadline)
        monkeypatch.setattr(_connection, "find_token", find_token)
        with pytest.raises(DevicePermissionError, match="refuses the PIN"):
            opened(tokens.url("alice"), "55555555")
        return token

    monkeypatch.setattr(_connection, "find_token", overtaken)
    with pytest.raises(DevicePermissionError, match="a wrong PIN was sent"):
        opened(tokens.url("alice"))


@needs_softhsm
def test_messages_name_the_token_and_the_cure(tokens: TokenPair) -> None:
    tokens.pin_file.write_text("77777777\n")
    with (
        pytest.raises(DevicePermissionError, match="pkcs11:token=alice") as caught,
        open_device(tokens.url("alice")),
    ):
        pass
    assert caught.value.cure


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (READY, ""),
        (TokenFlag.TOKEN_INITIALIZED, ""),
        (READY & ~TokenFlag.TOKEN_INITIALIZED, "not initialised"),
        (READY & ~TokenFlag.USER_PIN_INITIALIZED, "no PIN yet"),
        (READY | TokenFlag.WRITE_PROTECTED, "write-protected"),
        (READY | TokenFlag.USER_PIN_COUNT_LOW, "wrong PIN was sent"),
        (READY | TokenFlag.USER_PIN_COUNT_LOW | TokenFlag.USER_PIN_FINAL_TRY, "would lock"),
        (READY | TokenFlag.USER_PIN_LOCKED, "is locked"),
    ],
)
def test_a_token_s_flags_say_what_is_in_the_way(flags: TokenFlag, reason: str) -> None:
    hindrance = obstacle(token_with(flags))
    assert reason in hindrance.reason
    assert (hindrance == NONE) is (reason == "")
    assert bool(hindrance.cure) is (reason != "")


def test_a_person_may_risk_a_second_try_but_not_the_last() -> None:
    low = READY | TokenFlag.USER_PIN_COUNT_LOW
    assert obstacle(token_with(low), attended=True) == NONE
    last = obstacle(token_with(low | TokenFlag.USER_PIN_FINAL_TRY), attended=True)
    assert "would lock" in last.reason


def test_a_token_with_a_pin_pad_asks_for_the_pin_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QKD_HAL_PIN", raising=False)
    pad = token_with(READY | TokenFlag.PROTECTED_AUTHENTICATION_PATH)
    assert pin_for(TokenUri.parse("pkcs11:token=x"), pad, None) is PROTECTED_AUTH
    assert pin_for(TokenUri.parse("pkcs11:token=x"), pad, "1234") == "1234"
