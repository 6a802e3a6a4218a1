"""The public orders of Cascade's passes, the same at both ends from one seed.

A pass lays the key out in a grid, row by row. It turns every row by some places and moves it to
another row; then it does the same to the columns. The grid read row by row is the order. Rows
and columns of packed bits are turned word by word, so a million bits take a millisecond and
no table of a million entries, and where one place goes takes two steps.

Places that land beyond the key's end, where the grid is longer, walk on until they are inside.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Grid", "grid_words", "make_grid", "natural_order", "public_words"]


@dataclass(frozen=True, slots=True)
class Grid:
    """One pass's order of *length* places.

    ``of_rows`` and ``of_columns`` (int32) have three rows each: where each line goes, where it
    came from, and by how much it is turned before it goes there.
    """

    length: int
    of_rows: NDArray[np.int32]
    of_columns: NDArray[np.int32]

    @property
    def rows(self) -> int:
        """How many rows the grid has."""
        return len(self.of_rows[0])

    @property
    def columns(self) -> int:
        """How many columns: a multiple of 64, since rows of packed bits start at words."""
        return len(self.of_columns[0])


def make_grid(length: int, seed: bytes, number: int) -> Grid:
    """Draw the order of pass *number* from the block's public *seed*."""
    rows, columns = _shape(length)
    words = public_words(seed, number, 2 * (rows + columns))
    of_rows, of_columns = words[: 2 * rows], words[2 * rows :]
    return Grid(length, _lines(of_rows, columns), _lines(of_columns, rows))


def natural_order(length: int) -> Grid:
    """Return a grid without rows, which stands for the key's own order."""
    return Grid(length, np.zeros((3, 0), np.int32), np.zeros((3, 0), np.int32))


def grid_words(length: int) -> int:
    """Return how many words of 64 bits a pass of *length* places takes, and its end mark."""
    rows, columns = _shape(length)
    return columns * (-(-rows // 64)) + 1


def public_words(seed: bytes, number: int, count: int) -> NDArray[np.uint64]:
    """Return *count* public random words, the same everywhere.

    They are the Philox bit stream itself, which numpy keeps stable (NEP 19), unlike the
    methods of its Generator.
    """
    key = int.from_bytes(seed, "big")
    return np.random.Philox(key=key, counter=[0, 0, 0, number]).random_raw(count)


def _shape(length: int) -> tuple[int, int]:
    columns = 64 * max(1, round(math.sqrt(length) / 64))
    return -(-length // columns), columns


def _lines(words: NDArray[np.uint64], turns: int) -> NDArray[np.int32]:
    """Return a permutation of half as many lines as *words*, its inverse, and turns."""
    half = len(words) // 2
    back = np.argsort(words[:half], kind="stable")
    turn = (words[half:] >> np.uint64(32)) * np.uint64(turns) >> np.uint64(32)
    return np.stack([np.argsort(back), back, turn]).astype(np.int32)
