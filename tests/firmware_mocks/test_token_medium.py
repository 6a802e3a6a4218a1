"""A token's file: private, whole or not at all, for one process, and emptied of used keys."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import cbor2
import pytest

from qkd_hal_firmware_mocks.token.applet import KeyApplet
from qkd_hal_firmware_mocks.token.medium import FileMedium
from qkd_hal_firmware_mocks.token.state import MediumError, StoredKey, TokenState

if TYPE_CHECKING:
    from pathlib import Path

KEY = b"the key that is on the token...."
STATE = TokenState(
    pin=b"1" * 16,
    puk=b"2" * 16,
    pin_tries=2,
    puk_tries=9,
    site="alice",
    peer="bob",
    provenance=b"\x02relay",
    given_provenance=b"\x02relay",
    loaded=True,
    last_number=7,
    keys={bytes(16): StoredKey(7, bytes(16), 1, KEY, b"c" * 16)},
    confirmed=((2, b"i" * 16, b"c" * 16),),
)


def test_what_was_saved_is_there_in_the_next_process(tmp_path: Path) -> None:
    path = tmp_path / "token"
    with FileMedium(path) as medium:
        assert medium.load() == TokenState()
        medium.save(STATE)
    with FileMedium(path) as medium:
        assert medium.load() == STATE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_used_key_is_gone_from_the_file(tmp_path: Path) -> None:
    path = tmp_path / "token"
    with FileMedium(path) as medium:
        medium.save(STATE)
        assert KEY in path.read_bytes()
        applet = KeyApplet(medium)
        pin = bytes.fromhex("00200081 10") + STATE.pin
        confirm = bytes.fromhex("801C0100 20") + bytes(16) + b"c" * 16
        for apdu in (bytes.fromhex("00A40400 08 F0514B4448414C01"), pin, confirm):
            assert applet.transmit(apdu)[-2] in (0x90, 0x61)
    assert [KEY in file.read_bytes() for file in tmp_path.iterdir()] == [False, False]


def test_two_processes_cannot_share_a_token(tmp_path: Path) -> None:
    path = tmp_path / "token"
    with FileMedium(path), pytest.raises(MediumError, match="another process"):
        FileMedium(path)
    FileMedium(path).close()


@pytest.mark.parametrize("content", [b"", b"\x00", cbor2.dumps({"format": 2}), b"\xa1"])
def test_a_file_that_is_no_token(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "token"
    path.write_bytes(content)
    with pytest.raises(MediumError, match="not the state"):
        FileMedium(path)
    assert path.read_bytes() == content


def test_a_save_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "token"
    with FileMedium(path) as medium:
        medium.save(STATE)
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(MediumError, match="No space left"):
            medium.save(TokenState())
        assert medium.load() == STATE
    assert sorted(file.name for file in tmp_path.iterdir()) == ["token", "token.lock"]
    monkeypatch.undo()
    with FileMedium(path) as medium:
        assert medium.load() == STATE


def test_nothing_secret_in_a_repr() -> None:
    assert "the key" not in repr(STATE)
    assert repr(STATE.pin) not in repr(STATE)
    assert repr(STATE.puk) not in repr(STATE)
