"""Distillation on one core: both parties' work summed, no wire between them.

The peers are the textbook methods in plain Python, on smaller blocks, which favours them.
"""

from __future__ import annotations

from benchmarks import _amplification, _cascade
from benchmarks._report import Row, main
from benchmarks._simulated_link import run_link

QUICK, FULL = 3, 15  # repetitions; the median counts
QUICK_BLOCKS, FULL_BLOCKS = 4, 16  # of the simulated link


def measure(quick: bool) -> list[Row]:
    """Return the rows."""
    repetitions = QUICK if quick else FULL
    return [
        *_cascade.rows(repetitions),
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


if __name__ == "__main__":
    main("distillation", measure)
