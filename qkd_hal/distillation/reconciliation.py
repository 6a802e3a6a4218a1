"""Reconciliation: the detector's key becomes the emitter's. What any method must offer.

The detector drives: it asks for parities until it is done. Everything that the emitter
reveals is a reply's bits, so the leak is counted where it leaves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from qkd_hal.errors import ProtocolError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["ParityOracle", "ParityQuery", "Reconciler"]


@dataclass(frozen=True, slots=True)
class ParityQuery:
    """How many parities are wanted, at least one, and in the method's own words, which.

    ``body`` tells the emitter what it needs to know; its length is the method's to check.
    """

    count: int
    body: bytes

    def __len__(self) -> int:
        return self.count

    def to_bytes(self) -> bytes:
        """Return the wire form: the count (4 bytes), then the body."""
        return self.count.to_bytes(4, "big") + self.body

    @classmethod
    def from_bytes(cls, raw: bytes) -> ParityQuery:
        """Read the wire form.

        Raises:
            ProtocolError: nothing is wanted, or no count.
        """
        count = int.from_bytes(raw[:4], "big")
        if len(raw) < 4 or not count:
            raise ProtocolError("a parity request wants no parities")
        return cls(count, raw[4:])


class Reconciler(Protocol):
    """The detector's side of one block; corrects its key in place."""

    @property
    def corrected_bits(self) -> int:
        """Errors found so far."""
        ...

    def wipe(self) -> None:
        """Overwrite what was computed from the key."""
        ...

    def begin(self) -> ParityQuery:
        """Return the first question."""
        ...

    def answer(self, parities: NDArray[np.uint8]) -> ParityQuery | None:
        """Take the parities of the last question; return the next one, or None when done.

        Raises:
            ProtocolError: the answers contradict each other.
        """
        ...


class ParityOracle(Protocol):
    """The emitter's side of one block."""

    @property
    def leaked_bits(self) -> int:
        """Parities answered so far."""
        ...

    def wipe(self) -> None:
        """Overwrite what was computed from the key."""
        ...

    def answer(self, query: ParityQuery) -> NDArray[np.uint8]:
        """Return as many parities as *query* wants.

        Raises:
            ProtocolError: they do not exist, or are more than a key could bear.
        """
        ...
