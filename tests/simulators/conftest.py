"""A modem's store on disk, as the process has it open."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from qkd_hal_simulators.modem.block_store import BlockStore
from qkd_hal_simulators.modem.database import Database
from qkd_hal_simulators.modem.key_store import KeyStore
from qkd_hal_simulators.modem.pad_store import PadStore
from qkd_hal_simulators.settings import PRESETS, ModemSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

SECRET = hashlib.shake_256(b"an initial secret").digest(512)


def eventually(holds: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait until *holds*, for what takes one or two seconds on an idle machine."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def some_settings(directory: Path, **changes: object) -> ModemSettings:
    """Return those of Alice's modem, who emits, with *changes*."""
    settings = ModemSettings(
        site="alice",
        peer="bob",
        first=True,
        emits=True,
        quantum="127.0.0.1:0",
        classical="127.0.0.1:0",
        app="127.0.0.1:0",
        directory=directory,
        preset=PRESETS["short"],
    )
    return replace(settings, **changes)  # type: ignore[arg-type]


@dataclass
class OpenStore:
    """Everything over one database file."""

    database: Database
    keys: KeyStore
    pad: PadStore
    blocks: BlockStore

    def add(self, number: int, key: bytes, *, confirm: bool = True) -> None:
        """Put a block in, as the distiller does."""
        self.blocks.add(number, bytearray(key), bytearray(b"\x55" * 128))
        if confirm:
            self.blocks.confirm(number)


@pytest.fixture
def open_store(tmp_path: Path) -> Iterator[Callable[..., OpenStore]]:
    """Open the same file again and again, like a modem that restarts; the last one closes."""
    opened: list[Database] = []

    def open_again(*, capacity: int = 1 << 20, first: bool = True) -> OpenStore:
        for database in opened:
            database.close()
        fresh = not (tmp_path / "store.sqlite3").exists()
        database = Database(tmp_path / "store.sqlite3")
        opened.append(database)
        pad = PadStore(database, first=first)
        if fresh:
            pad.install(memoryview(SECRET))
        keys = KeyStore(database, capacity=capacity)
        return OpenStore(database, keys, pad, BlockStore(database, keys, pad, first=first))

    yield open_again
    for database in opened:
        database.close()


@pytest.fixture
def store(open_store: Callable[..., OpenStore]) -> OpenStore:
    """A store opened for the first time."""
    return open_store()


@pytest.fixture
def chi_square_fits() -> Callable[[NDArray[np.int64], NDArray[np.float64]], bool]:
    """Whether counts fit what is expected of each, by a chi-square test at p = 1e-4."""

    def fits(counts: NDArray[np.int64], expected: NDArray[np.float64]) -> bool:
        counts, expected = _pooled(counts, expected)
        chi_square = float(((counts - expected) ** 2 / expected).sum())
        return chi_square <= _largest_chi_square(counts.size - 1)

    return fits


@pytest.fixture
def chi_square_agrees() -> Callable[[NDArray[np.int64], NDArray[np.int64]], bool]:
    """Whether two rows of counts come from one distribution, at p = 1e-4."""

    def agrees(one: NDArray[np.int64], other: NDArray[np.int64]) -> bool:
        rows = np.array([one, other])
        rows = rows[:, rows.sum(axis=0) >= 2 * _FEWEST]
        expected = rows.sum(axis=1, keepdims=True) * rows.sum(axis=0) / rows.sum()
        chi_square = float(((rows - expected) ** 2 / expected).sum())
        return chi_square <= _largest_chi_square(rows.shape[1] - 1)

    return agrees


_FEWEST = 5.0  # expected counts below this make chi-square's approximation poor


def _pooled(
    counts: NDArray[np.int64], expected: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Join the cells of which too few are expected."""
    many = expected >= _FEWEST
    rest = expected[~many].sum()
    if rest < _FEWEST:
        assert abs(counts[~many].sum() - rest) <= 20
        return counts[many], expected[many]
    return np.append(counts[many], counts[~many].sum()), np.append(expected[many], rest)


def _largest_chi_square(freedom: int) -> float:
    """Return the quantile at 1 - 1e-4, by Wilson and Hilferty's cube (1931)."""
    if not freedom:
        return 1e-9
    spread = 2 / (9 * freedom)
    return float(freedom * (1 - spread + 3.719 * spread**0.5) ** 3)
