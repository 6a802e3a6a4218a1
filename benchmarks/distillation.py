"""Distillation: both parties' work summed on one core, then as two processes with a wire between.

The peers are the textbook methods in plain Python, on smaller blocks, which favours them.
"""

from __future__ import annotations

from benchmarks import _amplification, _cascade, _link_throughput
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
        *_link_throughput.rows(quick),
    ]


def simulated_link(blocks: int) -> Row:
    """Return seconds of link time per second of one core: 50 km, 1 GHz, Lim 2014's detectors."""
    run = run_link("lim-2014", blocks)
    speed = run.link_seconds / run.seconds
    return Row("link_realtime_50km", speed, "x real time")


if __name__ == "__main__":
    main("distillation", measure)
