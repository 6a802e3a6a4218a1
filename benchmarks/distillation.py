"""Distillation on one core: both parties' work summed, no wire between them.

The peers are the textbook methods in plain Python, on smaller blocks, which favours them.
"""

from __future__ import annotations

import random as plain_random
import statistics
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from benchmarks import _amplification, _plain
from benchmarks._report import Row, main
from benchmarks._simulated_link import run_link
from qkd_hal.distillation.cascade import CascadeOracle, CascadeReconciler
from qkd_hal.distillation.cascade_variants import YANETAL
from qkd_hal.distillation.finite_key import binary_entropy
from qkd_hal.distillation.reconciliation import ParityQuery

BITS = 1_000_000
QBER = 0.03
PLAIN_BITS = 10_000
QUICK, FULL = 3, 15  # repetitions; the median counts
QUICK_BLOCKS, FULL_BLOCKS = 4, 16  # of the simulated link


def measure(quick: bool) -> list[Row]:
    """Return the rows."""
    repetitions = QUICK if quick else FULL
    runs = [reconcile(seed) for seed in range(repetitions)]
    speed = statistics.median(BITS / seconds for seconds, _ in runs)
    efficiency = statistics.median(f for _, f in runs)
    plain, plain_f = plain_cascade()
    return [
        row("cascade_mbps_q3", speed / 1e6, "Mbit/s", "plain Cascade", plain / 1e6),
        row("cascade_f_q3", efficiency, "x Shannon", "plain Cascade", plain_f),
        *_amplification.rows(repetitions),
        simulated_link(QUICK_BLOCKS if quick else FULL_BLOCKS),
    ]


def row(name: str, value: float, unit: str, peer: str, rival: float) -> Row:
    return Row(name, value, unit, f"{peer} {rival:.3f}", value / rival)


def simulated_link(blocks: int) -> Row:
    """Return seconds of link time per second of one core: 50 km, 1 GHz, Lim 2014's detectors."""
    run = run_link("lim-2014", blocks)
    speed = run.link_seconds / run.seconds
    return row("simulated_link_50km_x_real_time", speed, "x", "real time", 1.0)


def plain_cascade() -> tuple[float, float]:
    """Return bits per second and efficiency of the textbook's Cascade."""
    bits = plain_random.Random(1)
    key = [bits.getrandbits(1) for _ in range(PLAIN_BITS)]
    noisy = [bit ^ (bits.random() < QBER) for bit in key]
    errors = sum(mine != theirs for mine, theirs in zip(noisy, key, strict=True))
    leaked: list[int] = []
    seconds = timed(lambda: leaked.append(_plain.cascade(key, noisy, QBER, 1)))
    assert noisy == key
    return PLAIN_BITS / seconds, leaked[0] / (PLAIN_BITS * binary_entropy(errors / PLAIN_BITS))


def reconcile(seed: int) -> tuple[float, float]:
    """Correct one block; return the seconds and the efficiency f."""
    random = np.random.default_rng(seed)
    key = random_bits(random, BITS)
    errors = (random.random(BITS) < QBER).astype(np.uint8)
    mine, shuffle = key ^ errors, random.bytes(16)
    oracle = CascadeOracle(key, shuffle, BITS)
    sizes = YANETAL.block_sizes(QBER, BITS)
    seconds = timed(lambda: exchange(oracle, CascadeReconciler(mine, shuffle, sizes)))
    assert (mine == key).all()
    return seconds, oracle.leaked_bits / (BITS * binary_entropy(float(errors.mean())))


def exchange(oracle: CascadeOracle, reconciler: CascadeReconciler) -> None:
    """Carry questions and answers until the reconciler is done."""
    query: ParityQuery | None = reconciler.begin()
    while query is not None:
        query = reconciler.answer(oracle.answer(query))


def random_bits(random: np.random.Generator, count: int) -> NDArray[np.uint8]:
    return random.integers(0, 2, count, dtype=np.uint8)


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main("distillation", measure)
