"""Privacy amplification on one core: input bits per second, and how they hold at other sizes."""

from __future__ import annotations

import random as plain_random
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from benchmarks import _plain
from benchmarks._report import Row
from qkd_hal.distillation.amplification import (
    FASTEST,
    Multiplier,
    modified_seed_bits,
    modified_toeplitz_hash,
)
from qkd_hal.distillation.bit_sliced import BitSliced

__all__ = ["rows"]

BITS = 1_000_000
PLAIN_BITS = 10_000
SECRET_SHARE = 0.4  # of the default preset's key bits at 5 km


def rows(repetitions: int) -> Iterator[Row]:
    """Measure the compiled multiplication, that in numpy, and a key ten times as long."""
    speed = partial(input_bits_per_second, repetitions=repetitions)
    direct, fastest, portable = plain(), speed(BITS, FASTEST), speed(BITS, BitSliced())
    for name, value in ("amplification_mbps", fastest), ("amplification_portable_mbps", portable):
        peer = f"plain Toeplitz {direct / 1e6:.3f}"
        yield Row(name, value / 1e6, "Mbit/s in", peer, value / direct)
    long, short = (fastest / speed(bits, FASTEST) for bits in (10 * BITS, BITS // 10))
    peer = f"at a tenth of the bits {short:.3f}"
    yield Row("amplification_1e7_ratio", long, "time per bit", peer, long / short)


def input_bits_per_second(bits: int, multiplier: Multiplier, repetitions: int) -> float:
    length = int(bits * SECRET_SHARE)
    random = np.random.default_rng(1)
    key = random.integers(0, 2, bits, dtype=np.uint8)
    seed = random.integers(0, 2, modified_seed_bits(bits, length), dtype=np.uint8)
    work = partial(modified_toeplitz_hash, key, seed, length, multiplier)
    return bits / statistics.median(timed(work) for _ in range(repetitions))


def plain() -> float:
    """Return input bits per second of the row-by-row product."""
    length = int(PLAIN_BITS * SECRET_SHARE)
    bits, left = plain_random.Random(1), PLAIN_BITS - length
    key, rest = bits.getrandbits(left), bits.getrandbits(length)
    seed = bits.getrandbits(modified_seed_bits(PLAIN_BITS, length))
    return PLAIN_BITS / timed(lambda: _plain.toeplitz(key, left, seed, length) ^ rest)


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
