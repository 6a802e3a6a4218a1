"""Parameter estimation: what the test bits say about the channel."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from qkd_hal.distillation.finite_key import single_photon_secret_bits
from qkd_hal.distillation.finite_key_decoy import DecoyCounts, decoy_secret_bits
from qkd_hal.errors import NoSecretKeyError, ProtocolError, QBERError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qkd_hal.distillation.parameters import DistillationParameters
    from qkd_hal.distillation.sifting import Sifted

__all__ = ["Estimation", "UncorrectedKey", "check_qber", "estimate"]


@dataclass(frozen=True, slots=True)
class Estimation:
    """Counts that both ends agree on, per intensity k: n_X, n_Z, m_Z and m_X.

    ``key_errors``, m_X, are known once the key is corrected; only one decoy needs them.
    """

    key: tuple[int, ...]
    test: tuple[int, ...]
    errors: tuple[int, ...]
    key_errors: tuple[int, ...] = ()

    @property
    def key_bits(self) -> int:
        """All sifted key bits."""
        return sum(self.key)

    @property
    def test_bits(self) -> int:
        """All test bits."""
        return sum(self.test)

    @property
    def qber(self) -> float:
        """Error rate of all test bits."""
        return sum(self.errors) / max(1, self.test_bits)

    def check(self, threshold: float) -> None:
        """Abort a block that cannot give a key.

        Raises:
            QBERError: the test error rate is above *threshold*.
            NoSecretKeyError: there is nothing to test, or nothing to keep.
        """
        if not self.test_bits or not self.key_bits:
            raise NoSecretKeyError("the block has no test bits or no key bits")
        check_qber(self.qber, threshold)

    def with_key_errors(self, raw: bytes, parameters: DistillationParameters) -> Estimation:
        """Return these counts and the key's errors per intensity, 4 bytes each.

        Raises:
            ProtocolError: they are not wanted, malformed, or more than the key has bits.
        """
        if len(raw) != 4 * len(self.key) * parameters.counts_key_errors:
            raise ProtocolError("the errors of the key are not counted per intensity")
        errors = tuple(np.frombuffer(raw, ">u4").tolist())
        if any(wrong > bits for wrong, bits in zip(errors, self.key, strict=bool(errors))):
            raise ProtocolError("more errors were corrected than the key has bits")
        return replace(self, key_errors=errors)

    def best_case_bits(self, parameters: DistillationParameters) -> int:
        """Return the key length if the key had no errors and reconciliation leaked nothing."""
        return replace(self, key_errors=(0,) * len(self.key)).secret_bits(parameters, 0)

    def secret_bits(self, parameters: DistillationParameters, leak_bits: int) -> int:
        """Return the finite-key length, in whole bytes; 0 or less means no key.

        A source with one decoy gets none while the key's errors are not known. They are
        told in public, and what that may tell of the key is booked here.
        """
        eps = parameters.eps_sec, parameters.eps_cor
        if parameters.source == "single-photon":
            counted = self.key_bits, self.test_bits, self.qber
            bits = single_photon_secret_bits(*counted, leak_bits, *eps)
        else:
            if parameters.counts_key_errors:
                leak_bits += sum(n.bit_length() for n in self.key)
            # Errors that nobody counted may be anywhere.
            counts = DecoyCounts(self.key, self.test, self.errors, self.key_errors or self.key)
            levels = parameters.intensities, parameters.intensity_probabilities
            bits = decoy_secret_bits(counts, *levels, leak_bits, *eps)
        return bits // 8 * 8


class UncorrectedKey:
    """The key as it was before reconciliation, to count what that corrected."""

    def __init__(self, sifted: Sifted) -> None:
        self._sifted = sifted
        self._bits = sifted.key_bits.copy()

    def errors(self, parameters: DistillationParameters) -> bytes:
        """Return the errors per intensity for :meth:`Estimation.with_key_errors`."""
        if not parameters.counts_key_errors:
            return b""
        wrong = self._sifted.key_intensities[self._sifted.key_bits != self._bits]
        return np.bincount(wrong, minlength=parameters.levels).astype(">u4").tobytes()

    def wipe(self) -> None:
        """Overwrite the copy; safe to call again."""
        self._bits.fill(0)


def check_qber(qber: float, threshold: float) -> None:
    """Abort a block of too many errors, whichever basis they are in.

    Raises:
        QBERError: *qber* is above *threshold*.
    """
    if qber > threshold:
        raise QBERError(
            f"QBER {qber:.1%} is above the threshold of {threshold:.1%}",
            cure="Check the alignment and the fibre; an eavesdropper looks like this too",
        )


def estimate(mine: Sifted, peer_test_bits: NDArray[np.uint8], levels: int) -> Estimation:
    """Count bits and errors per intensity; both ends get the same counts."""
    wrong = mine.test_intensities[mine.test_bits != peer_test_bits]
    counts = (
        tuple(int(np.count_nonzero(values == level)) for level in range(levels))
        for values in (mine.key_intensities, mine.test_intensities, wrong)
    )
    return Estimation(*counts)
