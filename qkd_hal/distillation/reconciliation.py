"""Reconciliation: the detector's key becomes the emitter's. What any method must offer.

The detector drives: it asks for parities until it is done. Everything that the emitter
reveals is a reply's bits, so the leak is counted where it leaves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from qkd_hal.errors import ProtocolError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ParityOracle", "ParityQuery", "Reconciler"]

_QUERY_BYTES = 9  # pass (1), start (4), stop (4)


@dataclass(frozen=True, slots=True)
class ParityQuery:
    """Ranges whose parities are wanted: in pass ``passes[i]``, places ``[start, stop)``.

    ``passes`` uint8, ``starts`` and ``stops`` int64, of one length, at least one.
    """

    passes: NDArray[np.uint8]
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.passes)

    def to_bytes(self) -> bytes:
        """Return the wire form: all passes, all starts, all stops."""
        ends = (self.starts.astype(">u4").tobytes(), self.stops.astype(">u4").tobytes())
        return b"".join((self.passes.tobytes(), *ends))

    @classmethod
    def from_bytes(cls, raw: bytes) -> ParityQuery:
        """Read the wire form.

        Raises:
            ProtocolError: no ranges, or not a whole number of them.
        """
        count, rest = divmod(len(raw), _QUERY_BYTES)
        if rest or not count:
            raise ProtocolError("a parity request has no whole number of ranges")
        places = np.frombuffer(raw, ">u4", offset=count).astype(np.int64)
        return cls(np.frombuffer(raw, np.uint8, count), places[:count], places[count:])


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
        """Return one parity per range.

        Raises:
            ProtocolError: a range does not exist, or more is asked than a key could bear.
        """
        ...
