"""Eve on the quantum channel: one module per attack, behind one protocol.

Every attack keeps to the laws of physics and to a budget, and writes into its notebook what
it may know of a bit once the bases are announced. See ``docs/eavesdropping.md``.
"""

from __future__ import annotations

from qkd_hal_simulators.physics.eve.attack import Attack, Hands
from qkd_hal_simulators.physics.eve.beam_splitting import BeamSplitting
from qkd_hal_simulators.physics.eve.budget import Budget
from qkd_hal_simulators.physics.eve.catalogue import ATTACKS, make_attack
from qkd_hal_simulators.physics.eve.intercept_resend import InterceptResend
from qkd_hal_simulators.physics.eve.knowledge import Knowledge
from qkd_hal_simulators.physics.eve.noise import Noise
from qkd_hal_simulators.physics.eve.notebook import Notebook
from qkd_hal_simulators.physics.eve.photon_number_splitting import PhotonNumberSplitting
from qkd_hal_simulators.physics.eve.target import Target

__all__ = [
    "ATTACKS",
    "Attack",
    "BeamSplitting",
    "Budget",
    "Hands",
    "InterceptResend",
    "Knowledge",
    "Noise",
    "Notebook",
    "PhotonNumberSplitting",
    "Target",
    "make_attack",
]
