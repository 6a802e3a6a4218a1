"""Files of a modem: private from the first byte, whole or absent, the secret used once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from qkd_hal.errors import ConfigurationError, DeviceBusyError
from qkd_hal.private_files import create_private, private_directory, replace_private
from qkd_hal_simulators.modem.advertisement import advertised
from qkd_hal_simulators.modem.credential import issue_credential
from qkd_hal_simulators.modem.database import Database
from qkd_hal_simulators.modem.initial_secret import create_initial_secret, read_secret
from qkd_hal_simulators.modem.pad_store import PadStore
from qkd_hal_simulators.modem.shared_secret import take_in_secret
from qkd_hal_simulators.modem.single_instance import exclusive

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "store.sqlite3")
    yield opened
    opened.close()


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def take_in(database: Database, path: Path | None) -> bytes:
    return take_in_secret(database, PadStore(database, first=True), path)


def test_both_sites_get_the_same_private_secret(tmp_path: Path) -> None:
    paths = [tmp_path / "alice.secret", tmp_path / "bob.secret"]
    create_initial_secret(paths, 2048)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert [(mode(path), path.stat().st_size) for path in paths] == [(0o600, 2048)] * 2
    assert sorted(tmp_path.iterdir()) == paths


def test_a_secret_never_overwrites(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"precious")
    with pytest.raises(ConfigurationError, match="not overwritten"):
        create_initial_secret([path], 2048)
    assert path.read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [path]


def test_a_senseless_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="makes no sense"):
        create_initial_secret([tmp_path / "secret"], 16)


@pytest.mark.parametrize("size", [1023, (1 << 20) + 1])
def test_a_file_of_the_wrong_size_is_no_secret(tmp_path: Path, size: int) -> None:
    create_private(tmp_path / "secret", bytes(size))
    with pytest.raises(ConfigurationError, match="no initial secret"):
        read_secret(tmp_path / "secret")


def test_a_readable_secret_is_refused(tmp_path: Path) -> None:
    create_initial_secret([tmp_path / "secret"], 2048)
    (tmp_path / "secret").chmod(0o640)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        read_secret(tmp_path / "secret")


def test_a_secret_is_taken_in_once_and_its_file_removed(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    create_initial_secret([path], 2048)
    beginning = path.read_bytes()[:32]
    assert take_in(database, path) == beginning
    assert not path.exists()
    assert take_in(database, path) == take_in(database, None) == beginning


def test_a_crash_between_storing_and_removing_is_mended(database: Database, tmp_path: Path) -> None:
    path, copy = tmp_path / "secret", tmp_path / "copy"
    create_initial_secret([path, copy], 2048)
    first = take_in(database, path)
    assert take_in(database, copy) == first
    assert not copy.exists()


def test_a_crash_between_wiping_and_removing_is_mended(database: Database, tmp_path: Path) -> None:
    path, wiped = tmp_path / "secret", tmp_path / "wiped"
    create_initial_secret([path], 2048)
    first = take_in(database, path)
    create_private(wiped, bytes(2048))
    assert take_in(database, wiped) == first
    assert not wiped.exists()


def test_a_wiped_secret_is_no_secret(database: Database, tmp_path: Path) -> None:
    create_private(tmp_path / "wiped", bytes(2048))
    with pytest.raises(ConfigurationError, match="wiped"):
        take_in(database, tmp_path / "wiped")


def test_another_secret_for_the_same_store_is_refused(database: Database, tmp_path: Path) -> None:
    path, other = tmp_path / "secret", tmp_path / "other"
    create_initial_secret([path], 2048)
    create_initial_secret([other], 2048)
    take_in(database, path)
    with pytest.raises(ConfigurationError, match="not the secret"):
        take_in(database, other)
    assert other.exists()


def test_a_missing_secret_names_the_command(database: Database, tmp_path: Path) -> None:
    for path in (None, tmp_path / "nowhere"):
        with pytest.raises(ConfigurationError, match="qkd-hal modem secret"):
            take_in(database, path)


def test_directories_are_made_private_and_open_ones_refused(tmp_path: Path) -> None:
    assert mode(private_directory(tmp_path / "store")) == 0o700
    (tmp_path / "store").chmod(0o755)
    with pytest.raises(ConfigurationError, match="chmod 700"):
        private_directory(tmp_path / "store")


def test_a_second_modem_in_the_directory_is_refused(tmp_path: Path) -> None:
    with (
        exclusive(tmp_path / "modem.lock"),
        pytest.raises(DeviceBusyError, match="another modem"),
        exclusive(tmp_path / "modem.lock"),
    ):
        pytest.fail("two modems hold one store")
    with exclusive(tmp_path / "modem.lock"):
        assert mode(tmp_path / "modem.lock") == 0o600


def test_replacing_is_private_and_leaves_nothing_beside(tmp_path: Path) -> None:
    for content in (b"one", b"two"):
        replace_private(tmp_path / "file", content)
    assert (tmp_path / "file").read_bytes() == b"two"
    assert mode(tmp_path / "file") == 0o600
    assert len(list(tmp_path.iterdir())) == 1


def test_each_run_issues_a_fresh_credential(tmp_path: Path) -> None:
    first, second = issue_credential(tmp_path), issue_credential(tmp_path)
    assert first.admitted != second.admitted
    fields = json.loads((tmp_path / "client.curve").read_bytes())
    assert fields["client_public"].encode() == second.admitted
    assert fields["server_public"].encode() == second.public
    assert mode(tmp_path / "client.curve") == 0o600
    assert str(second.secret) not in repr(second)


def test_a_modem_announces_itself_while_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with advertised("alice", {"url": "bb84+tcp://127.0.0.1:1"}):
        (path,) = (tmp_path / "qkd-hal" / "modems").iterdir()
        assert path.name == f"alice-{os.getpid()}.json"
        assert json.loads(path.read_bytes()) == {
            "url": "bb84+tcp://127.0.0.1:1",
            "pid": os.getpid(),
        }
    assert not path.exists()


def test_what_killed_modems_left_is_swept_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    directory = private_directory(private_directory(tmp_path / "qkd-hal") / "modems")
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    kept = {f"bob-{os.getppid()}.json", "bob-notes.json", f"bob-{1 << 70}.json"}
    for name in (*kept, f"bob-{ended.pid}.json"):
        (directory / name).touch()
    with advertised("alice", {}):
        left = {path.name for path in directory.iterdir()}
    assert left == {*kept, f"alice-{os.getpid()}.json"}
