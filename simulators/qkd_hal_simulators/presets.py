"""Links to choose by name: their light, blocks, line and receiver.

What a paper leaves open is ours, and said to be. Settings of the light are those that
``qkd_hal.distillation.planner`` finds best for the link and the block.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from qkd_hal.distillation.parameters import DistillationParameters
from qkd_hal_simulators.channel import ChannelSettings

__all__ = ["PRESETS", "Preset"]


@dataclass(frozen=True, slots=True)
class Preset:
    """A light source, its blocks, pulses in one frame, and the channel.

    ``answer_seconds``: how long the peer may take for its next message before the block is
    given up; it grows with what the work of one message costs on a busy machine.
    """

    parameters: DistillationParameters
    frame_pulses: int
    answer_seconds: float
    channel: ChannelSettings = field(default_factory=ChannelSettings)


# Lim et al., PRA 89, 022307 (2014), section IV. The clock and how long traps glow are ours.
_LIM_2014 = Preset(
    DistillationParameters(
        intensities=(0.43, 0.2, 0.0002),
        intensity_probabilities=(0.2, 0.55, 0.25),
        key_basis_probability=0.774,
        block_size=1_000_000,
        eps_sec=1e-9,
    ),
    1 << 22,
    answer_seconds=8.0,
    channel=ChannelSettings(
        length_km=50.0,
        efficiency=0.1,
        dark_count_probability=6e-7,
        misalignment=5e-3,
        afterpulse_probability=4e-2,
        afterpulse_ns=100.0,
        sampler="per-detection",
    ),
)

# Rusca et al., Appl. Phys. Lett. 112, 171104 (2018): one decoy. Their p_DC of 1e-8 is that of
# both detectors; of their losses, 20 dB.
_RUSCA_2018 = Preset(
    DistillationParameters(
        source="wcp-1-decoy",
        intensities=(0.446, 0.16),
        intensity_probabilities=(0.553, 0.447),
        key_basis_probability=0.844,
        block_size=1 << 21,
        eps_sec=1e-9,
    ),
    1 << 22,
    answer_seconds=16.0,
    channel=ChannelSettings(
        length_km=100.0,
        efficiency=0.5,
        dark_count_probability=5e-9,
        misalignment=0.01,
        dead_time_ns=100.0,
        sampler="per-detection",
    ),
)

# Yuan et al., J. Lightwave Technol. 36, 3427 (2018): 13.72 Mbit/s over 2 dB. The receiver's
# figures are ours, such that our bound gives about that rate; their blocks are of 10^8 bits.
_TOSHIBA_2018 = Preset(
    DistillationParameters(
        intensities=(0.523, 0.273, 0.0002),
        intensity_probabilities=(0.358, 0.457, 0.185),
        key_basis_probability=0.843,
        block_size=1 << 22,
    ),
    1 << 20,
    answer_seconds=30.0,
    channel=ChannelSettings(
        length_km=10.0,
        efficiency=0.3,
        dark_count_probability=1e-5,
        misalignment=0.01,
        afterpulse_probability=0.01,
        afterpulse_ns=10.0,
        sampler="per-detection",
    ),
)

# ZTE 2024, section 5: BB84 devices within 50 km that give 20 kbit/s. All else is ours, such
# that the rate at 50 km is about that.
_ZTE_2024 = Preset(
    DistillationParameters(
        intensities=(0.479, 0.183, 0.0002),
        intensity_probabilities=(0.127, 0.56, 0.313),
        key_basis_probability=0.676,
        block_size=1 << 17,
    ),
    1 << 22,
    answer_seconds=4.0,
    channel=ChannelSettings(
        length_km=50.0,
        insertion_db=2.4,
        efficiency=0.1,
        dark_count_probability=1e-6,
        misalignment=0.015,
        afterpulse_probability=0.01,
        afterpulse_ns=100.0,
        clock_mhz=200.0,
        sampler="per-detection",
    ),
)

# QSSL (Faraj): a simulated channel of 5 % QBER, 20 % of up to 50,000 sifted bits disclosed.
# Basis X with 2/3 makes one sifted bit in five a test bit. The line is ours.
_QSSL = Preset(
    DistillationParameters(
        source="single-photon",
        intensities=(1.0,),
        intensity_probabilities=(1.0,),
        key_basis_probability=2 / 3,
        block_size=40_000,
        qber_threshold=0.11,
    ),
    1 << 17,
    answer_seconds=2.0,
    channel=ChannelSettings(misalignment=0.05, sampler="per-detection"),
)

PRESETS = {
    "default": Preset(
        DistillationParameters(),
        1 << 20,
        answer_seconds=4.0,
        channel=ChannelSettings(sampler="per-detection"),
    ),
    # Few photons: light costs nothing, and Eve may tap it.
    "short": Preset(DistillationParameters.short(), 1 << 16, answer_seconds=1.0),
    "lim-2014": _LIM_2014,
    "rusca-2018": _RUSCA_2018,
    "toshiba-2018": _TOSHIBA_2018,
    "zte-2024": _ZTE_2024,
    "qssl": _QSSL,
}
