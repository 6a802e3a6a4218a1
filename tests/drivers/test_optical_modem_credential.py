"""The credential file: found, private, and whole, or refused with its cure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from qkd_hal.errors import ConfigurationError
from qkd_hal_drivers.optical_modem._credential import ENVIRONMENT_VARIABLE, load_credential

if TYPE_CHECKING:
    from pathlib import Path

FIELDS = {
    "server_public": "s" * 40,
    "client_public": "c" * 40,
    "client_secret": "k" * 40,
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "client.curve"
    file.touch(mode=0o600)
    file.write_text(json.dumps(FIELDS))
    return file


def test_it_is_read_from_the_url_or_the_environment(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(path))
    assert load_credential(None) == load_credential(str(path))
    assert load_credential(None).server_public == b"s" * 40


def test_the_secret_stays_out_of_repr(path: Path) -> None:
    assert "kkk" not in repr(load_credential(str(path)))


def test_no_credential_names_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT_VARIABLE, raising=False)
    with pytest.raises(ConfigurationError, match=ENVIRONMENT_VARIABLE):
        load_credential(None)


def test_a_missing_file_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="start the modem first"):
        load_credential(str(tmp_path / "none"))


def test_an_open_file_is_refused(path: Path) -> None:
    path.chmod(0o604)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        load_credential(str(path))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"\xff",
        b"{}",
        json.dumps({**FIELDS, "client_secret": "k" * 39}).encode(),
        json.dumps({**FIELDS, "client_secret": "\xe9" * 40}).encode(),
        json.dumps(FIELDS).encode() + b" " * 4096,
    ],
)
def test_what_is_no_credential_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match="not a modem credential"):
        load_credential(str(path))
