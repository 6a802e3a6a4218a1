"""Secrets in files: who may read them, and what is said when that is not so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qkd_hal.errors import ConfigurationError, DevicePermissionError
from qkd_hal.private_files import create_private, read_private

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_mock import MockerFixture


def read(path: Path) -> bytearray:
    return read_private(path, "the test secret", at_most=8, cure="Make one")


def test_what_was_created_is_read(tmp_path: Path) -> None:
    create_private(tmp_path / "secret", b"12345678")
    assert read(tmp_path / "secret") == b"12345678"


def test_a_longer_file_is_noticed_and_never_read_whole(tmp_path: Path) -> None:
    create_private(tmp_path / "secret", b"x" * 100)
    assert len(read(tmp_path / "secret")) == 9


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
def test_a_file_that_others_can_touch_is_refused(tmp_path: Path, mode: int) -> None:
    create_private(tmp_path / "secret", b"12345678")
    (tmp_path / "secret").chmod(mode)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        read(tmp_path / "secret")


def test_a_missing_file_and_a_missing_folder_name_the_path(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"the test secret .*none.* Make one"):
        read(tmp_path / "none")
    with pytest.raises(ConfigurationError, match=r"cannot create .*folder"):
        create_private(tmp_path / "folder" / "secret", b"")


def test_without_the_right_to_read_the_cure_is_named(tmp_path: Path, mocker: MockerFixture) -> None:
    # The tests may run as root, whom no mode keeps out.
    mocker.patch("pathlib.Path.open", side_effect=PermissionError)
    with pytest.raises(DevicePermissionError, match="Run as the user"):
        read(tmp_path / "secret")
