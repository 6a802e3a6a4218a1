"""Cascade on one core: both parties' work summed, no wire between them."""

from __future__ import annotations

import random as plain_random
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from benchmarks import _plain
from benchmarks._report import Row
from qkd_hal.distillation.cascade import CascadeOracle, CascadeReconciler
from qkd_hal.distillation.cascade_variants import LOW_LEAK, YANETAL, Variant
from qkd_hal.distillation.finite_key import binary_entropy
from qkd_hal.distillation.reconciliation import ParityQuery

__all__ = ["rows"]

BITS = 1_000_000
SMALL_BITS = 10_000
SMALL_BLOCKS = 10  # for each repetition
QBER = 0.03


@dataclass(frozen=True, slots=True)
class Run:
    """A block's bits per second, both parties, and leak over Shannon's limit."""

    speed: float
    f: float


def rows(repetitions: int) -> Iterator[Row]:
    """Measure the variants against the textbook's, and other block sizes against a megabit."""
    peer = plain()
    usual = median(YANETAL, BITS, repetitions)
    low = median(LOW_LEAK, BITS, repetitions)
    yield _speed("cascade_mbps_q3", usual, peer)
    yield _leak("cascade_f_q3", usual, peer)
    yield _speed("cascade_low_leak_mbps_q3", low, peer)
    yield _leak("cascade_low_leak_f_q3", low, peer)
    yield _leak("cascade_f_1e4_q3", mean(SMALL_BITS, SMALL_BLOCKS * repetitions), peer)
    long = usual.speed / median(YANETAL, 10 * BITS, 3).speed
    short = usual.speed / median(YANETAL, BITS // 10, 3 * repetitions).speed
    tenth = f"at a tenth of the bits {short:.3f}"
    yield Row("cascade_1e7_ratio", long, "time per bit", tenth, long / short)


def _speed(name: str, run: Run, peer: Run) -> Row:
    rival = f"plain Cascade {peer.speed / 1e6:.3f}"
    return Row(name, run.speed / 1e6, "Mbit/s", rival, run.speed / peer.speed)


def _leak(name: str, run: Run, peer: Run) -> Row:
    return Row(name, run.f, "x Shannon", f"plain Cascade {peer.f:.3f}", run.f / peer.f)


def median(variant: Variant, bits: int, repetitions: int) -> Run:
    runs = [reconcile(variant, bits, seed) for seed in range(repetitions)]
    speed = statistics.median(run.speed for run in runs)
    return Run(speed, statistics.median(run.f for run in runs))


def mean(bits: int, blocks: int) -> Run:
    runs = [reconcile(YANETAL, bits, seed) for seed in range(blocks)]
    return Run(statistics.mean(run.speed for run in runs), statistics.mean(run.f for run in runs))


def reconcile(variant: Variant, bits: int, seed: int) -> Run:
    """Correct one block."""
    random = np.random.default_rng(seed)
    key = random.integers(0, 2, bits, dtype=np.uint8)
    errors = (random.random(bits) < QBER).astype(np.uint8)
    mine, shuffle = key ^ errors, random.bytes(16)
    start = time.perf_counter()
    oracle = CascadeOracle(key, shuffle, bits)
    exchange(oracle, CascadeReconciler(mine, shuffle, variant.block_sizes(QBER, bits)))
    seconds = time.perf_counter() - start
    assert (mine == key).all()
    return Run(bits / seconds, oracle.leaked_bits / (bits * binary_entropy(float(errors.mean()))))


def exchange(oracle: CascadeOracle, reconciler: CascadeReconciler) -> None:
    """Carry questions and answers until the reconciler is done."""
    query: ParityQuery | None = reconciler.begin()
    while query is not None:
        query = reconciler.answer(oracle.answer(query))


def plain() -> Run:
    """Run the textbook's Cascade, on a small block, which favours it."""
    bits = plain_random.Random(1)
    key = [bits.getrandbits(1) for _ in range(SMALL_BITS)]
    noisy = [bit ^ (bits.random() < QBER) for bit in key]
    errors = sum(mine != theirs for mine, theirs in zip(noisy, key, strict=True))
    start = time.perf_counter()
    leaked = _plain.cascade(key, noisy, QBER, 1)
    seconds = time.perf_counter() - start
    assert noisy == key
    return Run(SMALL_BITS / seconds, leaked / (SMALL_BITS * binary_entropy(errors / SMALL_BITS)))
