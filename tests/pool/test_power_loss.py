"""What is on the disk when the power goes: only what was synchronised.

SIGKILL cannot show a missing ``fsync``: the kernel still has the pages. So SQLite runs on a
file system layer (its own VFS, wrapped) that keeps, for every file, the contents at the last
``xSync``. After each ``apply`` a store is opened on *those* files.
"""

from __future__ import annotations

import _sqlite3
import contextlib
import ctypes
import random
from ctypes import CFUNCTYPE, POINTER, Structure, c_char_p, c_int, c_void_p
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from qkd_hal.keys import Origin, Provenance
from qkd_hal.link import BlockRecord, BlockState, Space, SpaceRecord
from qkd_hal.link.effects import Change, DropBlock, EraseMaterial, PutBlock, PutSpace
from qkd_hal.pool import SQLiteStore

if TYPE_CHECKING:
    from collections.abc import Iterator

SPACE = Space("alice", "bob")
# The name stays a raw pointer: SQLite keeps it for as long as the file is open.
OPEN = CFUNCTYPE(c_int, c_void_p, c_void_p, c_void_p, c_int, POINTER(c_int))
SYNC = CFUNCTYPE(c_int, c_void_p, c_int)


class Vfs(Structure):
    """``sqlite3_vfs``, version 3."""

    _fields_: ClassVar[Any] = [
        ("version", c_int),
        ("file_size", c_int),
        ("max_path", c_int),
        ("next", c_void_p),
        ("name", c_char_p),
        ("data", c_void_p),
        ("open", OPEN),
        ("others", c_void_p * 15),
    ]


class Methods(Structure):
    """``sqlite3_io_methods``, version 3."""

    _fields_: ClassVar[Any] = [
        ("version", c_int),
        ("close_read_write_truncate", c_void_p * 4),
        ("sync", SYNC),
        ("others", c_void_p * 13),
    ]


class Disk:
    """The default VFS of this process while installed; ``synced`` is what survives."""

    def __init__(self) -> None:
        self.synced: dict[Path, bytes] = {}
        self._paths: dict[int, Path] = {}
        self._methods: dict[int, Methods] = {}
        self._library = ctypes.CDLL(_sqlite3.__file__)
        self._library.sqlite3_vfs_find.restype = POINTER(Vfs)
        self._base = self._library.sqlite3_vfs_find(None)
        self._vfs = Vfs.from_buffer_copy(self._base.contents)
        self._vfs.name = b"forgetful"
        self._open = OPEN(self._on_open)
        self._vfs.open = self._open

    def install(self) -> None:
        assert self._library.sqlite3_vfs_register(ctypes.byref(self._vfs), 1) == 0

    def remove(self) -> None:
        assert self._library.sqlite3_vfs_unregister(ctypes.byref(self._vfs)) == 0
        assert self._library.sqlite3_vfs_register(self._base, 1) == 0

    def _on_open(self, _vfs: int, name: int | None, file: int, flags: int, out: Any) -> int:
        result = int(self._base.contents.open(self._base, name, file, flags, out))
        slot = ctypes.cast(file, POINTER(c_void_p))
        original = slot.contents.value
        if result == 0 and name is not None and original is not None:
            self._paths[file] = Path(ctypes.string_at(name).decode())
            slot[0] = ctypes.addressof(self._wrapped(original))
        return result

    def _wrapped(self, original: int) -> Methods:
        if original not in self._methods:
            methods = Methods.from_buffer_copy(Methods.from_address(original))
            # A copy of the pointer: the field itself would follow what is assigned below.
            really_sync = SYNC(ctypes.cast(methods.sync, c_void_p).value)  # type: ignore[arg-type]

            def sync(file: int, flags: int) -> int:
                path = self._paths[file]
                self.synced[path] = path.read_bytes()
                return int(really_sync(file, flags))

            methods.sync = SYNC(sync)
            self._methods[original] = methods
        return self._methods[original]

    def after_power_loss(self, live: Path, directory: Path) -> None:
        """Write what survived of the files in *live* into *directory*."""
        directory.mkdir(mode=0o700)
        # A deleted journal stays deleted: SQLite synchronises the directory after that.
        for path in [one for one in self.synced if one.parent == live and one.exists()]:
            content = self.synced[path]
            copy = directory / path.name
            copy.write_bytes(content)
            copy.chmod(0o600)


@pytest.fixture
def disk() -> Iterator[Disk]:
    disk = Disk()
    disk.install()
    yield disk
    disk.remove()


def _change(choice: random.Random, number: int) -> list[Change]:
    provenance = Provenance(Origin.SIMULATED)
    block = BlockRecord(number, 500, provenance, BlockState.ACTIVE, choice.randrange(400))
    older = choice.randrange(number + 1)
    return choice.choice(
        [
            [PutSpace(SpaceRecord(number, choice.randbytes(16), choice.randbytes(16), True))],
            [PutBlock(block, bytearray(choice.randbytes(500)))],
            [PutBlock(block, bytearray(choice.randbytes(500))), PutSpace(SpaceRecord(number))],
            [EraseMaterial(older)],
            [DropBlock(older)],
        ]
    )


def _contents(store: SQLiteStore) -> tuple[object, ...]:
    with store._database() as db:
        tables = ("spaces", "blocks", "material")
        return tuple(db.execute(f"SELECT * FROM {table}").fetchall() for table in tables)  # noqa: S608


def test_what_was_applied_survives_the_power(tmp_path: Path, disk: Disk) -> None:
    choice = random.Random(1)
    with contextlib.closing(SQLiteStore(tmp_path / "live" / "a.sqlite")) as store:
        for number in range(60):
            store.apply(SPACE, _change(choice, number))
            copy = tmp_path / str(number)
            disk.after_power_loss(tmp_path / "live", copy)
            with contextlib.closing(SQLiteStore(copy / "a.sqlite")) as survivor:
                assert _contents(survivor) == _contents(store)


def test_the_layer_does_forget_what_was_not_synchronised(tmp_path: Path, disk: Disk) -> None:
    with contextlib.closing(SQLiteStore(tmp_path / "live" / "a.sqlite")) as store:
        store.apply(SPACE, [PutSpace(SpaceRecord(1))])
        with store._database() as db:
            db.execute("PRAGMA synchronous = OFF")
        store.apply(SPACE, [PutSpace(SpaceRecord(2))])
        disk.after_power_loss(tmp_path / "live", tmp_path / "copy")
        with contextlib.closing(SQLiteStore(tmp_path / "copy" / "a.sqlite")) as survivor:
            assert survivor.load(SPACE)[0] == SpaceRecord(1)
