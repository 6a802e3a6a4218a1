"""What both ends must agree on before the first photon."""

from __future__ import annotations

import hashlib
import math
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

import cbor2

from qkd_hal.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MASK_BYTES", "MAX_DETECTIONS", "DistillationParameters", "Source"]

Source: TypeAlias = Literal["wcp", "wcp-1-decoy", "single-photon"]

MASK_BYTES = 16  # one-time-pad bytes that hide one Poly1305 value
MAX_DETECTIONS = 1 << 23  # per block; bounds every message and buffer of the engine

_LEVELS: dict[str, int] = {"wcp": 3, "wcp-1-decoy": 2, "single-photon": 1}


@dataclass(frozen=True, slots=True)
class DistillationParameters:
    """Settings of one link; the two ends compare :meth:`digest` before they start.

    ``source``: weak coherent pulses with two decoys or with one, or ideal single photons.
    ``intensities``: mean photon numbers, brightest first: mu1 > mu2 + mu3 with two decoys,
    mu1 > mu2 > 0 with one, a single 0-th level for single photons; each with its
    ``intensity_probabilities``.
    ``key_basis_probability``: how often either end picks X, the key basis.
    ``block_size``: expected sifted key-basis bits of a block.
    ``qber_threshold``: test error rate above which a block is aborted.
    ``eps_sec``, ``eps_cor``: secrecy and correctness of a block's key.
    ``pad_refill_bytes``: taken off each key to refill the authentication pads of both ends.
    ``extra``: settings of the host that both ends must share as well.

    The defaults give the most key per second at 5 km with 2 dB of loss, detectors of 50 %
    and 1 % misalignment, when a second distils 0.8 Mbit or sends 10 million pulses.

    Raises:
        ConfigurationError: a value is outside its range.
    """

    source: Source = "wcp"
    intensities: tuple[float, ...] = (0.5, 0.23, 0.0002)
    intensity_probabilities: tuple[float, ...] = (0.2, 0.56, 0.24)
    key_basis_probability: float = 0.78
    block_size: int = 1 << 19
    qber_threshold: float = 0.08
    eps_sec: float = 1e-10
    eps_cor: float = 1e-15
    pad_refill_bytes: int = 128
    extra: Mapping[str, str | int | float | bool] = field(default_factory=dict)

    @classmethod
    def short(cls) -> DistillationParameters:
        """Return ideal single photons in small blocks: for tests and quick demonstrations."""
        return cls(
            source="single-photon",
            intensities=(1.0,),
            intensity_probabilities=(1.0,),
            key_basis_probability=2 / 3,
            block_size=16_000,
            qber_threshold=0.11,
        )

    def __post_init__(self) -> None:
        _require(self.source in _LEVELS, f"unknown light source {self.source!r}")
        self._check_levels()
        _require(0 < self.key_basis_probability < 1, "key_basis_probability lies between 0 and 1")
        _require(0 < self.qber_threshold < 0.5, "qber_threshold lies between 0 and 0.5")
        _require(0 < self.eps_sec < 1, "eps_sec lies between 0 and 1")
        _require(0 < self.eps_cor < 1, "eps_cor lies between 0 and 1")
        self._check_sizes()

    def _check_levels(self) -> None:
        count = _LEVELS[self.source]
        _require(len(self.intensities) == count, f"{self.source} takes {count} intensities")
        _require(len(self.intensity_probabilities) == count, "one probability per intensity")
        _require(all(p > 0 for p in self.intensity_probabilities), "probabilities are positive")
        total = sum(self.intensity_probabilities)
        _require(math.isclose(total, 1.0, abs_tol=1e-9), "intensity probabilities add up to 1")
        if self.source == "wcp":
            high, middle, low = self.intensities
            _require(high > middle + low, "decoy intensities need mu1 > mu2 + mu3")
            _require(middle > low >= 0, "decoy intensities need mu2 > mu3 >= 0")
        if self.source == "wcp-1-decoy":
            high, low = self.intensities
            _require(high > low > 0, "one decoy needs mu1 > mu2 > 0")

    def _check_sizes(self) -> None:
        _require(self.block_size >= 1000, "block_size is at least 1000 bits")
        fits = self.detections_per_block <= MAX_DETECTIONS
        _require(fits, f"a block needs more than {MAX_DETECTIONS} detections")
        spent = 2 * 2 * MASK_BYTES  # the busier direction uses two masks, and halves are equal
        _require(
            spent <= self.pad_refill_bytes <= 1 << 16,
            f"pad_refill_bytes is {spent} to 65536, or the pads would drain",
        )
        _require(self.pad_refill_bytes % (2 * MASK_BYTES) == 0, "pad_refill_bytes is in 32s")

    @property
    def levels(self) -> int:
        """How many intensities the source has."""
        return len(self.intensities)

    @property
    def counts_key_errors(self) -> bool:
        """Whether the bound needs the errors of the key as well (Rusca 2018)."""
        return self.source == "wcp-1-decoy"

    @property
    def detections_per_block(self) -> int:
        """Detections that give ``block_size`` sifted key-basis bits on average."""
        return math.ceil(self.block_size / self.key_basis_probability**2)

    @property
    def max_message_bytes(self) -> int:
        """The longest message that an honest engine sends; hosts refuse longer ones."""
        return 8 * self.detections_per_block + 65536

    def digest(self) -> bytes:
        """Return 32 bytes that differ when any setting differs (SHA-256 of canonical CBOR)."""
        return hashlib.sha256(cbor2.dumps(asdict(self), canonical=True)).digest()


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise ConfigurationError(what, cure="Correct the distillation parameters at both ends")
