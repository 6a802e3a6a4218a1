"""Figure: secret bits per pulse against distance, for block sizes, as in Lim 2014, Fig. 1."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

import click

from qkd_hal.cli.plot.chart import Chart, Curve, Panel
from qkd_hal.cli.plot.output import figure_options, finish

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from qkd_hal.distillation.channel_model import Light, Link

__all__ = ["chart", "key_per_pulse", "rate_distance"]

_DB_PER_KM = 0.2
_KAPPA = 1e-15  # eps_sec for each bit of the key
_EPS_COR = 1e-15
_EFFICIENCY = 1.16  # of error correction
_ROUNDS = 3  # eps_sec goes into the length by its logarithm: the third changes nothing
_LARGEST = 32.0  # doublings of one bit; beyond, gamma of the paper has no value
_PRECISION = 0.05  # of a doubling
_SHOWN = 1e-8  # bits per pulse; less is no link
_CAPTION = (
    "Decoy-state BB84 with two decoys: Lim et al., PRA 89, 022307 (2014), equations (1) to (5) and "
    "the channel of section IV with eta_sys in e_k. Detectors of 10~%, dark counts 6e-7 per gate, "
    "afterpulses 4~%, fibre 0.2~dB/km, misalignment 0.5~%, f = 1.16, eps_sec = 1e-15 per key bit, "
    "eps_cor = 1e-15; intensities, their probabilities and the basis bias are optimised at each "
    "point."
)


@click.command("rate-distance")
@click.option("--to-km", default=200, show_default=True, type=click.IntRange(1, 400))
@click.option("--step-km", default=10, show_default=True, type=click.IntRange(1, 100))
@click.option(
    "--block",
    "exponents",
    multiple=True,
    type=click.IntRange(4, 9),
    default=(4, 5, 6, 7, 9),
    show_default=True,
    help="Sifted key bits of a block, as a power of ten; repeat.",
)
@figure_options
def rate_distance(
    to_km: int,
    step_km: int,
    exponents: tuple[int, ...],
    out: Path | None,
    csv_file: Path | None,
    as_json: bool,
) -> None:
    """Draw the secret key rate against distance for block sizes (Lim 2014).

    Takes some twenty seconds: the settings are optimised for each point.
    """
    finish(chart(range(0, to_km + 1, step_km), exponents), out, csv_file, as_json)


def chart(distances: Iterable[int], exponents: Sequence[int]) -> Chart:
    """Return the figure's numbers."""
    distances = list(distances)
    curves = tuple(_curve(distances, exponent) for exponent in exponents)
    panel = Panel("Secret key rate (bit per pulse)", curves, y_log=True)
    return Chart("rate-distance", "Fibre length (km)", (panel,), _CAPTION)


def _curve(distances: list[int], exponent: int) -> Curve:
    rates: list[float] = []
    for km in distances:
        rates.append(key_per_pulse(km, 10**exponent))
        if rates[-1] < _SHOWN:  # and farther away even less
            rates.pop()
            break
    x = tuple(float(km) for km in distances[: len(rates)])
    return Curve(f"$n_X = 10^{{{exponent}}}$", x, tuple(rates))


def key_per_pulse(length_km: float, block_size: int) -> float:
    """Return the optimum secret bits per pulse; 0 where there is no key."""
    from qkd_hal.distillation.channel_model import Link, expected_rates
    from qkd_hal.distillation.planner import best_settings

    link = Link(_DB_PER_KM * length_km, 0.1, 6e-7, 0.04, 5e-3)

    def rate(light: Light, key_basis: float) -> float:
        bits = _length(link, light, key_basis, block_size)
        if bits > 0:
            return bits * sum(expected_rates(link, light, key_basis).key) / block_size
        # Where there is no key, the bounds are flat: the search goes to where less is missing.
        return -_missing(partial(_length, link, light, key_basis), block_size)

    return max(0.0, rate(*best_settings("wcp", rate)))


def _missing(length: Callable[[float], int], block_size: int) -> float:
    """Return how many times a block must be doubled to have a key at the same settings.

    Where no block has one, also how many bits each of the largest lacks.
    """
    low, high = math.log2(block_size), _LARGEST
    lacking = max(0.0, -length(2**high) / 2**high)
    while high - low > _PRECISION:
        middle = (low + high) / 2
        low, high = (low, middle) if length(2**middle) > 0 else (middle, high)
    return high - math.log2(block_size) + lacking


def _length(link: Link, light: Light, key_basis: float, block_size: float) -> int:
    from qkd_hal.distillation.channel_model import expected_rates
    from qkd_hal.distillation.finite_key import binary_entropy
    from qkd_hal.distillation.finite_key_decoy import printed_phase_error
    from qkd_hal.distillation.planner import expected_secret_bits

    rates = expected_rates(link, light, key_basis)
    leak = _EFFICIENCY * binary_entropy(rates.qber) * block_size
    bits = int(block_size)
    for _ in range(_ROUNDS):
        eps = _KAPPA * max(1, bits), _EPS_COR
        bits = expected_secret_bits(rates, light, block_size, leak, *eps, printed_phase_error)
    return bits
