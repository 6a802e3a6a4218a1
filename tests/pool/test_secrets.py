"""The file that holds a link secret."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from qkd_hal.errors import ConfigurationError
from qkd_hal.pool import create_link_secret, load_link_secret

if TYPE_CHECKING:
    from pathlib import Path


def test_a_secret_is_random_private_and_read_back(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        for name in ("one", "other"):
            create_link_secret(tmp_path / name)
    finally:
        os.umask(old)
    one, other = load_link_secret(tmp_path / "one"), load_link_secret(tmp_path / "other")
    assert len(one) == len(other) == 32
    assert one != other
    assert stat.S_IMODE((tmp_path / "one").stat().st_mode) == 0o600


def test_a_secret_is_never_overwritten(tmp_path: Path) -> None:
    create_link_secret(tmp_path / "s")
    before = load_link_secret(tmp_path / "s")
    with pytest.raises(ConfigurationError):
        create_link_secret(tmp_path / "s")
    assert load_link_secret(tmp_path / "s") == before


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_secret_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    create_link_secret(tmp_path / "s")
    (tmp_path / "s").chmod(mode)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        load_link_secret(tmp_path / "s")


@pytest.mark.parametrize("text", [b"", b"00" * 31, b"zz" * 32, b"\xff" * 64, b"0" * 65])
def test_a_file_without_a_secret_is_refused_and_not_shown(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "s"
    path.write_bytes(text)
    path.chmod(0o600)
    with pytest.raises(ConfigurationError, match="hexadecimal") as caught:
        load_link_secret(path)
    assert caught.value.__cause__ is None
    assert text.decode("latin-1")[:8] not in str(caught.value) or not text


def test_a_missing_file_comes_with_a_cure(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="qkd-hal pool secret"):
        load_link_secret(tmp_path / "none")
