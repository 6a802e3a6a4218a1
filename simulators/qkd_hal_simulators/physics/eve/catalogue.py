"""All attacks on the quantum channel, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from qkd_hal.errors import UsageError
from qkd_hal_simulators.physics.eve.attack import Hands
from qkd_hal_simulators.physics.eve.beam_splitting import BeamSplitting
from qkd_hal_simulators.physics.eve.budget import Budget
from qkd_hal_simulators.physics.eve.intercept_resend import BASES, Basis, InterceptResend
from qkd_hal_simulators.physics.eve.noise import Noise
from qkd_hal_simulators.physics.eve.options import AttackOptions
from qkd_hal_simulators.physics.eve.photon_number_splitting import PhotonNumberSplitting

if TYPE_CHECKING:
    from collections.abc import Callable

    from qkd_hal_simulators.physics.eve.attack import Attack
    from qkd_hal_simulators.physics.eve.target import Target

    Maker = Callable[[AttackOptions, Target, float, Hands], Attack]

__all__ = ["ATTACKS", "make_attack"]


def _intercept_resend(
    options: AttackOptions, _: Target, fraction: float, hands: Hands
) -> InterceptResend:
    return InterceptResend(fraction, cast("Basis", options.choice("basis", BASES)), hands)


def _photon_number_splitting(
    options: AttackOptions, target: Target, fraction: float, hands: Hands
) -> PhotonNumberSplitting:
    blocked = options.number("blocked")
    if blocked is None:
        return PhotonNumberSplitting.keeping_rate(target, fraction, hands)
    return PhotonNumberSplitting(target.fibre, fraction, blocked, hands=hands)


_MAKERS: dict[str, Maker] = {
    "intercept-resend": _intercept_resend,
    "photon-number-splitting": _photon_number_splitting,
    "beam-splitting": lambda _, target, *common: BeamSplitting(target.fibre, *common),
    "noise": lambda _, __, *common: Noise(*common),
}
ATTACKS = tuple(_MAKERS)


def make_attack(spec: str | AttackOptions, target: Target) -> Attack:
    """Return the attack that *spec* names, on *target*.

    All attacks take ``fraction`` (share of the pulses, default 1) and a budget, ``pulses`` in
    all and ``per-second``; ``intercept-resend`` takes ``basis`` (random, x, z, breidbart) and
    ``photon-number-splitting`` ``blocked``, the share of single photons, in place of what
    keeps the rate.

    Raises:
        UsageError: no such attack, no such option, or a value out of range.
    """
    options = AttackOptions(spec) if isinstance(spec, str) else spec
    if options.name not in _MAKERS:
        raise UsageError(
            f"no attack {options.name!r} on the quantum channel",
            cure=f"Take one of {', '.join(ATTACKS)}",
        )
    fraction = options.share("fraction", 1.0)
    budget = Budget(options.count("pulses"), options.number("per-second"), target.clock_hz)
    attack = _MAKERS[options.name](options, target, fraction, Hands(budget))
    options.finish()
    return attack
