"""``qkd-hal plan``: the best settings of a link."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from qkd_hal.cli._output import json_option, print_json, print_pairs

if TYPE_CHECKING:
    from qkd_hal.distillation.parameters import Source
    from qkd_hal.distillation.planner import Plan

__all__ = ["plan"]

_NUMBER = click.FloatRange(0)
_CHANCE = click.FloatRange(0, 1)
_EPSILON = click.FloatRange(0, 1, min_open=True, max_open=True)


@click.command()
@click.option(
    "--source",
    type=click.Choice(["wcp", "wcp-1-decoy", "single-photon"]),
    default="wcp",
    show_default=True,
    help="Weak coherent pulses with two decoys or one, or ideal photons.",
)
@click.option("--length-km", type=_NUMBER, default=0.0, show_default=True, help="Of fibre.")
@click.option("--db-per-km", type=_NUMBER, default=0.2, show_default=True)
@click.option("--insertion-db", type=_NUMBER, default=0.0, show_default=True)
@click.option("--efficiency", type=_CHANCE, default=0.5, show_default=True, help="Of detectors.")
@click.option(
    "--dark-counts", type=_CHANCE, default=1e-7, show_default=True, help="Per pulse and detector."
)
@click.option("--afterpulses", type=_CHANCE, default=0.0, show_default=True, help="Per click.")
@click.option("--misalignment", type=_CHANCE, default=0.01, show_default=True)
@click.option("--dead-time-ns", type=_NUMBER, default=0.0, show_default=True)
@click.option("--clock-mhz", type=_NUMBER, default=1000.0, show_default=True)
@click.option("--block-size", type=int, help="Sifted key bits; by default the best.")
@click.option("--max-seconds", type=_NUMBER, default=60.0, show_default=True, help="Per block.")
@click.option(
    "--eps-sec", type=_EPSILON, default=1e-10, show_default=True, help="Secrecy of a block's key."
)
@click.option(
    "--eps-cor",
    type=_EPSILON,
    default=1e-15,
    show_default=True,
    help="Correctness of a block's key.",
)
@json_option
def plan(
    source: Source,
    length_km: float,
    db_per_km: float,
    insertion_db: float,
    efficiency: float,
    dark_counts: float,
    afterpulses: float,
    misalignment: float,
    dead_time_ns: float,
    clock_mhz: float,
    block_size: int | None,
    max_seconds: float,
    eps_sec: float,
    eps_cor: float,
    as_json: bool,
) -> None:
    """Find a link's best intensities, probabilities, basis bias and block size.

    The expected key is that of a channel which nobody disturbs.
    """
    from qkd_hal.distillation.channel_model import Link
    from qkd_hal.distillation.planner import Goal
    from qkd_hal.distillation.planner import plan as best_plan

    link = Link(
        attenuation_db=length_km * db_per_km + insertion_db,
        efficiency=efficiency,
        dark_count_probability=dark_counts,
        afterpulse_probability=afterpulses,
        misalignment=misalignment,
        clock_hz=1e6 * clock_mhz,
        dead_time_s=1e-9 * dead_time_ns,
    )
    goal = Goal(eps_sec=eps_sec, eps_cor=eps_cor, max_seconds=max_seconds)
    found = best_plan(link, source=source, goal=goal, block_size=block_size)
    if as_json:
        print_json(_to_json(found))
    else:
        print_pairs(_to_text(found), title=f"{source}, {link.attenuation_db:g} dB")


def _to_json(found: Plan) -> dict[str, object]:
    settings = asdict(found.parameters)
    del settings["extra"]
    return {
        "parameters": settings,
        "pulses": round(found.pulses),
        "seconds": found.seconds,
        "qber": found.qber,
        "secret_bits": found.secret_bits,
        "net_bits": found.net_bits,
        "net_bits_per_second": found.net_bits_per_second,
    }


def _to_text(found: Plan) -> dict[str, object]:
    parameters = found.parameters
    return {
        "mean_photon_numbers": _listed(parameters.intensities),
        "with_probabilities": _listed(parameters.intensity_probabilities),
        "key_basis_probability": parameters.key_basis_probability,
        "block_size": parameters.block_size,
        "detections_per_block": parameters.detections_per_block,
        "pulses_per_block": round(found.pulses),
        "seconds_per_block": found.seconds,
        "expected_qber": found.qber,
        "qber_threshold": parameters.qber_threshold,
        "secret_bits_per_block": found.secret_bits,
        "net_bits_per_second": found.net_bits_per_second,
    }


def _listed(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)
