"""A pass of Cascade: the key in another order, cut ever finer into blocks of known parity.

A block is *odd* while the two ends' parities differ. Both ends keep the same cuts and the same
odd blocks; only the bits are each end's own.

Bit i of an array of words is bit i % 64 of word i / 64. Each such array here has a bit to spare
after the last place.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import numpy as np

from qkd_hal.distillation.cascade_shuffle import grid_words, make_grid, natural_order

if TYPE_CHECKING:
    from collections.abc import Generator

    from numpy.typing import NDArray

    Bits = NDArray[np.uint8]
    Places = NDArray[np.int32]
    Words = NDArray[np.uint64]

__all__ = ["Pass", "pack_words"]


def pack_words(key: Bits) -> Words:
    """Return *key* as words of 64 bits, as many as a pass needs."""
    octets = np.zeros(8 * grid_words(len(key)), np.uint8)
    octets[: -(-len(key) // 8)] = np.packbits(key, bitorder="little")
    return octets.view("<u8").astype(np.uint64, copy=False)


def _check(marks: Bits, asked: int) -> None:
    if len(marks) != asked:  # compiled code would read beyond them
        raise ValueError(f"{len(marks)} marks for {asked} parities")


class Pass(ABC):
    """Pass *number* over the *words* of a key of *length* bits, in blocks of *size*.

    Pass 0 has the natural order, and the *words* are its own. The hooks are the inner loops:
    :mod:`.cascade_numpy` says what they do, :mod:`.cascade_native` does it fast.
    """

    def __init__(self, words: Words, length: int, seed: bytes, number: int, size: int) -> None:
        self._length = length
        self._size = size
        self._grid = make_grid(length, seed, number) if number else natural_order(length)
        self.bits = self._shuffled(words) if number else words
        self._edges = np.zeros_like(words)  # where blocks start, and the end
        self._odd = np.zeros_like(words)  # starts of odd blocks
        self._low = self._high = np.zeros(0, np.int32)  # of the blocks that are searched
        self.odd_blocks = 0

    @abstractmethod
    def parities(self) -> Bits:
        """Return this end's parities of consecutive blocks; the last one may be shorter."""

    def cut(self, marks: Bits) -> None:
        """Begin with the blocks of :meth:`parities`, of which those with *marks* are odd."""
        _check(marks, -(-self._length // self._size))
        self._cut(marks)
        self.odd_blocks = int(np.count_nonzero(marks))

    def search(self) -> Generator[Bits, Bits, Places]:
        """Halve all odd blocks down to one place each; return these places of the key.

        Yields parities of first halves; takes a 1 for each that differs. The blocks count as
        even from the start.
        """
        self._take_odd()
        self.odd_blocks = 0
        parities = self._halve(None)
        while asked := len(parities):
            marks = yield parities
            _check(marks, asked)
            parities = self._halve(marks)
        return self._found()

    def change(self, places: Places, *, toggles: bool, flips: bool) -> None:
        """Note that the key changes at *places*, in their blocks and in this end's bits."""
        self.odd_blocks += self._change(places, toggles, flips)

    def wipe(self) -> None:
        """Overwrite this end's bits."""
        self.bits.fill(0)

    @abstractmethod
    def _shuffled(self, words: Words) -> Words:
        """Return *words* in the pass's order, with zeros after the end."""

    @abstractmethod
    def _cut(self, marks: Bits) -> None:
        """Set the edges and the odd blocks."""

    @abstractmethod
    def _take_odd(self) -> None:
        """Move the odd blocks, rising, to ``_low`` and ``_high``: their starts and ends."""

    @abstractmethod
    def _halve(self, marks: Bits | None) -> Bits:
        """Cut those of more than one place in the middle: with a mark, the first half is odd.

        Returns the parities of the first halves of those that still have halves. Without
        *marks*, does only this.
        """

    @abstractmethod
    def _found(self) -> Places:
        """Return which of the key's places the ranks ``_low`` are."""

    @abstractmethod
    def _change(self, places: Places, toggles: bool, flips: bool) -> int:
        """Do what :meth:`change` says; return by how many more blocks are odd."""
