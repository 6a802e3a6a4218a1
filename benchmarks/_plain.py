"""The peers of the distillation benchmark: the textbook methods in plain Python.

What a reader of the papers writes in an afternoon, and what open simulators run: Cascade with
the parameters of Brassard and Salvail (EUROCRYPT 1993), a range at a time, and a Toeplitz
matrix multiplied row by row on Python's integers.
"""

from __future__ import annotations

import random
from itertools import pairwise

__all__ = ["cascade", "toeplitz"]

PASSES = 4


def cascade(reference: list[int], noisy: list[int], qber: float, seed: int) -> int:
    """Correct *noisy* in place; return the parities that were asked for."""
    shuffler, size, asked = random.Random(seed), int(0.73 / qber) + 1, 0
    orders: list[list[int]] = []
    ranks: list[list[int]] = []
    blocks: list[list[tuple[int, int]]] = []
    for number in range(PASSES):
        order = list(range(len(noisy)))
        if number:
            shuffler.shuffle(order)
        orders.append(order)
        ranks.append(sorted(range(len(order)), key=order.__getitem__))
        edges = [*range(0, len(order), size << number), len(order)]
        blocks.append(list(pairwise(edges)))
        asked += len(blocks[-1])
        pending = [(number, block) for block in blocks[-1]]
        while pending:
            at, (start, stop) = pending.pop()
            if parity(reference, orders[at], start, stop) == parity(noisy, orders[at], start, stop):
                continue
            wrong, questions = search(reference, noisy, orders[at], start, stop)
            asked += questions
            noisy[wrong] ^= 1
            homes = (ranks[other][wrong] // (size << other) for other in range(number + 1))
            pending += [(other, blocks[other][home]) for other, home in enumerate(homes)]
    return asked


def parity(bits: list[int], order: list[int], start: int, stop: int) -> int:
    return sum(bits[place] for place in order[start:stop]) & 1


def search(
    reference: list[int], noisy: list[int], order: list[int], start: int, stop: int
) -> tuple[int, int]:
    """Find one error in a range of odd parity; return its place and the questions asked."""
    asked = 0
    while stop - start > 1:
        middle = (start + stop) // 2
        asked += 1
        if parity(reference, order, start, middle) != parity(noisy, order, start, middle):
            stop = middle
        else:
            start = middle
    return order[start], asked


def toeplitz(key: int, bits: int, matrix: int, rows: int) -> int:
    """Multiply: row *i* of the matrix is its bits ``i`` to ``i + bits``."""
    mask = (1 << bits) - 1
    return sum(((matrix >> row & mask & key).bit_count() & 1) << row for row in range(rows))
