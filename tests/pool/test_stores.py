"""Both stores do the same; SQLite's does it on disk, for one process, and for nobody else."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from qkd_hal.errors import ConfigurationError, StoreError
from qkd_hal.keys import KeyId, KeyRef, Origin, Provenance
from qkd_hal.link import BlockRecord, BlockState, Space, SpaceRecord
from qkd_hal.link.effects import DropBlock, EraseMaterial, PutBlock, PutSpace
from qkd_hal.pool import MemoryStore, PoolStore, SQLiteStore, open_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SPACE, OTHER = Space("alice", "bob"), Space("bob", "alice")
REF = KeyRef("alice", KeyId.parse("00112233-4455-8677-8899-aabbccddeeff"))
BLOCK = BlockRecord(
    7,
    100,
    Provenance(Origin.SIMULATED, ("relay",)),
    BlockState.ACTIVE,
    mark=64,
    acked=32,
    origin=REF,
    remains=((0, 16), (32, 64)),
)
RECORD = SpaceRecord(7, b"c" * 16, b"p" * 16, keep=True)


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[PoolStore]:
    url = "pool+memory:" if request.param == "memory" else f"pool+sqlite://{tmp_path}/a.sqlite"
    with contextlib.closing(open_store(url)) as opened:
        yield opened


def test_an_empty_store_remembers_nothing(store: PoolStore) -> None:
    assert store.spaces() == []
    assert store.load(SPACE) == (SpaceRecord(), [])


def test_what_was_put_is_loaded(store: PoolStore) -> None:
    plain = BlockRecord(8, 64, Provenance(Origin.HARDWARE), BlockState.PENDING)
    store.apply(SPACE, [PutSpace(RECORD), PutBlock(BLOCK, bytearray(range(100)))])
    store.apply(SPACE, [PutBlock(plain, bytearray(64))])
    assert store.spaces() == [SPACE]
    assert store.load(SPACE) == (RECORD, [BLOCK, plain])
    assert store.load(OTHER) == (SpaceRecord(), [])
    assert store.read(SPACE, 7, 10, 20) == bytearray(range(10, 20))


def test_a_block_is_replaced_without_its_bytes(store: PoolStore) -> None:
    store.apply(SPACE, [PutBlock(BLOCK, bytearray(range(100)))])
    spent = BlockRecord(7, 100, BLOCK.provenance, BlockState.SPENT, 68, 68)
    store.apply(SPACE, [PutBlock(spent)])
    assert store.load(SPACE)[1] == [spent]
    assert store.read(SPACE, 7, 0, 100) == bytearray(range(100))


@pytest.mark.parametrize("change", [DropBlock(7), EraseMaterial(7)])
def test_erased_bytes_are_gone(store: PoolStore, change: DropBlock | EraseMaterial) -> None:
    store.apply(SPACE, [PutBlock(BLOCK, bytearray(100))])
    store.apply(SPACE, [change])
    with pytest.raises(StoreError, match="gone"):
        store.read(SPACE, 7, 0, 1)
    assert store.load(SPACE)[1] == ([] if isinstance(change, DropBlock) else [BLOCK])


@pytest.mark.parametrize(("start", "end"), [(0, 101), (99, 101), (100, 101), (5, 5), (6, 5)])
def test_bytes_outside_a_block_are_not_read(store: PoolStore, start: int, end: int) -> None:
    store.apply(SPACE, [PutBlock(BLOCK, bytearray(100))])
    with pytest.raises(StoreError):
        store.read(SPACE, 7, start, end)


def test_the_store_copies_what_it_is_given(store: PoolStore) -> None:
    material = bytearray(b"x" * 100)
    store.apply(SPACE, [PutBlock(BLOCK, material)])
    material[:] = bytes(100)
    assert store.read(SPACE, 7, 0, 100) == b"x" * 100


def test_closing_again_is_fine(store: PoolStore) -> None:
    store.close()
    store.close()


def test_a_memory_store_wipes_what_it_held() -> None:
    store = MemoryStore()
    store.apply(SPACE, [PutBlock(BLOCK, bytearray(b"x" * 100))])
    held = store._material[SPACE, 7]
    store.close()
    assert not any(held)


# -- SQLite ------------------------------------------------------------------------------


def test_everything_is_there_after_opening_again(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    store = SQLiteStore(path)
    store.apply(SPACE, [PutSpace(RECORD), PutBlock(BLOCK, bytearray(range(100)))])
    store.close()
    with contextlib.closing(SQLiteStore(path)) as again:
        assert again.load(SPACE) == (RECORD, [BLOCK])
        assert again.read(SPACE, 7, 0, 100) == bytearray(range(100))


def test_files_and_directories_are_for_their_owner_only(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        store = SQLiteStore(tmp_path / "deep" / "a.sqlite")
    finally:
        os.umask(old)
    with contextlib.closing(store):
        store.apply(SPACE, [PutSpace(RECORD)])
        assert stat.S_IMODE((tmp_path / "deep").stat().st_mode) == 0o700
        modes = {
            file.name: stat.S_IMODE(file.stat().st_mode) for file in store.path.parent.iterdir()
        }
    assert {"a.sqlite", "a.sqlite-wal", "a.sqlite-shm", "a.sqlite.lock"} == {*modes}
    assert {*modes.values()} == {0o600}


@pytest.mark.parametrize("read_only", [True, False])
def test_a_file_open_to_others_is_refused(tmp_path: Path, read_only: bool) -> None:
    path = tmp_path / "a.sqlite"
    SQLiteStore(path).close()
    path.chmod(0o640)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        SQLiteStore(path, read_only=read_only)
    path.chmod(0o600)
    SQLiteStore(path).close()  # the refused opening left no lock behind


def test_a_second_writer_is_told_who_is_in_the_way(tmp_path: Path) -> None:
    with contextlib.closing(SQLiteStore(tmp_path / "a.sqlite")):
        code = (
            "import sys\n"
            "from qkd_hal.errors import StoreError\n"
            "from qkd_hal.pool import SQLiteStore\n"
            "try: SQLiteStore(sys.argv[1])\n"
            "except StoreError as error: sys.exit(7 * ('another process' in str(error)))"
        )
        argv = [sys.executable, "-c", code, str(tmp_path / "a.sqlite")]
        assert subprocess.run(argv, check=False).returncode == 7
    SQLiteStore(tmp_path / "a.sqlite").close()


def test_a_reader_looks_while_a_writer_works_and_cannot_write(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    with contextlib.closing(SQLiteStore(path)) as writer:
        writer.apply(SPACE, [PutSpace(RECORD)])
        with contextlib.closing(SQLiteStore(path, read_only=True)) as reader:
            assert reader.load(SPACE) == (RECORD, [])
            with pytest.raises(StoreError, match="readonly"):
                reader.apply(SPACE, [PutSpace(SpaceRecord())])


def test_a_reader_makes_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        SQLiteStore(tmp_path / "none.sqlite", read_only=True)
    assert [*tmp_path.iterdir()] == []


def test_commits_wait_for_the_disk(tmp_path: Path) -> None:
    with contextlib.closing(SQLiteStore(tmp_path / "a.sqlite")) as store, store._database() as db:
        assert db.execute("PRAGMA synchronous").fetchone() == (2,)
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert db.execute("PRAGMA secure_delete").fetchone() == (1,)


def test_a_failing_change_undoes_the_others(tmp_path: Path) -> None:
    with contextlib.closing(SQLiteStore(tmp_path / "a.sqlite")) as store:
        store.apply(SPACE, [PutBlock(BLOCK, bytearray(100))])
        with pytest.raises(StoreError):
            store.apply(SPACE, [PutSpace(RECORD), PutBlock(BLOCK, bytearray(100))])
        assert store.load(SPACE) == (SpaceRecord(), [BLOCK])
        store.apply(SPACE, [PutSpace(RECORD)])
        assert store.load(SPACE)[0] == RECORD


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "a.sqlite")
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.load(SPACE)


def _spoil(path: Path, sql: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE blocks SET state = 'gold'",
        "UPDATE blocks SET provenance = '[\"magic\"]'",
        "UPDATE blocks SET provenance = '{'",
        'UPDATE blocks SET origin = \'["alice", "x"]\'',
        "UPDATE blocks SET remains = '[[1]]'",
        "UPDATE blocks SET remains = '3'",
        "DROP TABLE spaces",
        "ALTER TABLE blocks RENAME COLUMN mark TO spot",
    ],
)
def test_a_damaged_row_is_a_store_error(tmp_path: Path, sql: str) -> None:
    path = tmp_path / "a.sqlite"
    with contextlib.closing(SQLiteStore(path)) as store:
        store.apply(SPACE, [PutSpace(RECORD), PutBlock(BLOCK, bytearray(100))])
    _spoil(path, sql)
    with contextlib.closing(SQLiteStore(path)) as store, pytest.raises(StoreError):
        store.load(SPACE)


@pytest.mark.parametrize("sql", ["PRAGMA user_version = 2", "PRAGMA application_id = 1"])
def test_a_store_of_another_version_is_refused(tmp_path: Path, sql: str) -> None:
    path = tmp_path / "a.sqlite"
    SQLiteStore(path).close()
    _spoil(path, sql)
    with pytest.raises(StoreError, match="version"):
        SQLiteStore(path)


def test_a_file_of_something_else_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    path.write_bytes(b"a letter to my mother" * 50)
    path.chmod(0o600)
    with pytest.raises(StoreError):
        SQLiteStore(path)
    assert path.read_bytes() == b"a letter to my mother" * 50


# -- URLs --------------------------------------------------------------------------------


def test_a_url_names_a_store(tmp_path: Path) -> None:
    assert isinstance(open_store("pool+memory:"), MemoryStore)
    with contextlib.closing(open_store(f"pool+sqlite://{tmp_path}/a%20b.sqlite")) as store:
        assert isinstance(store, SQLiteStore)
    assert (tmp_path / "a b.sqlite").exists()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "pool+sqlite:relative",
        "pool+sqlite://host/path",
        "pool+sqlite:///a?b=c",
        "sqlite:///a",
        "pool+memory:x",
    ],
)
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="does not name"):
        open_store(url)
