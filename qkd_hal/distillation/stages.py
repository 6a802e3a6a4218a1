"""The heavy stages of a block, behind protocols, so that a faster one can take a place.

Both ends must run the same ones: their names go into what the HELLOs compare.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from qkd_hal.distillation.amplification import (
    modified_seed_bits,
    modified_toeplitz_hash,
    seed_bits,
    toeplitz_hash,
)
from qkd_hal.distillation.cascade import CascadeOracle, CascadeReconciler
from qkd_hal.distillation.cascade_variants import choose
from qkd_hal.distillation.verification import key_hash

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from qkd_hal.distillation.cascade_variants import Variant
    from qkd_hal.distillation.reconciliation import ParityOracle, Reconciler

__all__ = [
    "Amplification",
    "Cascade",
    "ModifiedToeplitz",
    "PolynomialHash",
    "Reconciliation",
    "Stages",
    "Toeplitz",
    "Verification",
]


class Reconciliation(Protocol):
    """Makes the detector's key the emitter's. *seed*: 16 public random bytes of the block."""

    @property
    def name(self) -> str:
        """What both ends must agree on, with a version."""
        ...

    def reconciler(self, key: NDArray[np.uint8], seed: bytes, qber: float) -> Reconciler:
        """Return the detector's side, which corrects *key* in place."""
        ...

    def oracle(self, key: NDArray[np.uint8], seed: bytes) -> ParityOracle:
        """Return the emitter's side, which refuses to leak more than *key* could bear."""
        ...


class Verification(Protocol):
    """Tells whether the corrected keys agree: a universal hash of 128 bits."""

    @property
    def name(self) -> str:
        """What both ends must agree on, with a version."""
        ...

    def hash(self, key: NDArray[np.uint8], seed: bytes) -> bytes:
        """Return the 16-byte hash of *key* under 16 public random bytes."""
        ...


class Amplification(Protocol):
    """Compresses a reconciled key until nobody else knows any of it: a 2-universal family."""

    @property
    def name(self) -> str:
        """What both ends must agree on, with a version."""
        ...

    def seed_bits(self, key_bits: int, length: int) -> int:
        """Return how many public random bits choose a member of the family."""
        ...

    def amplify(
        self, key: NDArray[np.uint8], seed: NDArray[np.uint8], length: int
    ) -> NDArray[np.uint8]:
        """Return the *length* secret bits."""
        ...


class Cascade:
    """Interactive binary search over shuffled passes; see :mod:`.cascade`.

    The detector's end chooses among the variants by *round_trip_seconds*, or takes *variant*, and
    tells the emitter's.
    """

    name = "cascade-2"

    def __init__(self, round_trip_seconds: float = 0.0, variant: Variant | None = None) -> None:
        self._round_trip_seconds = round_trip_seconds
        self._variant = variant

    def reconciler(self, key: NDArray[np.uint8], seed: bytes, qber: float) -> Reconciler:
        """Return the side that asks."""
        variant = self._variant or choose(qber, len(key), self._round_trip_seconds)
        return CascadeReconciler(key, seed, variant.block_sizes(qber, len(key)))

    def oracle(self, key: NDArray[np.uint8], seed: bytes) -> ParityOracle:
        """Return the side that answers. n bits that leaked n are worth nothing."""
        return CascadeOracle(key, seed, len(key))


class PolynomialHash:
    """Poly1305's polynomial with a public key; see :mod:`.verification`."""

    name = "poly1305-polynomial-1"

    def hash(self, key: NDArray[np.uint8], seed: bytes) -> bytes:
        """Return the hash."""
        return key_hash(key, seed)


class ModifiedToeplitz:
    """A random Toeplitz matrix beside the identity; see :mod:`.amplification`."""

    name = "modified-toeplitz-1"

    def seed_bits(self, key_bits: int, length: int) -> int:
        """Return the bits of the matrix's first column and row: fewer than the key has."""
        return modified_seed_bits(key_bits, length)

    def amplify(
        self, key: NDArray[np.uint8], seed: NDArray[np.uint8], length: int
    ) -> NDArray[np.uint8]:
        """Multiply and add."""
        return modified_toeplitz_hash(key, seed, length)


class Toeplitz:
    """A random Toeplitz matrix; takes a longer seed. See :mod:`.amplification`."""

    name = "toeplitz-1"

    def seed_bits(self, key_bits: int, length: int) -> int:
        """Return the bits of the matrix's first column and row."""
        return seed_bits(key_bits, length)

    def amplify(
        self, key: NDArray[np.uint8], seed: NDArray[np.uint8], length: int
    ) -> NDArray[np.uint8]:
        """Multiply."""
        return toeplitz_hash(key, seed, length)


@dataclass(frozen=True, slots=True)
class Stages:
    """The methods that a session runs."""

    reconciliation: Reconciliation = field(default_factory=Cascade)
    verification: Verification = field(default_factory=PolynomialHash)
    amplification: Amplification = field(default_factory=ModifiedToeplitz)

    def digest(self, parameters: bytes) -> bytes:
        """Return the 32 bytes that both ends compare: *parameters*' digest and the methods."""
        parts = (self.reconciliation, self.verification, self.amplification)
        return hashlib.sha256(parameters + "\0".join(one.name for one in parts).encode()).digest()
