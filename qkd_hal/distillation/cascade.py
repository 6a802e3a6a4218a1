"""Cascade, with all pending binary searches in one round trip.

Brassard and Salvail (EUROCRYPT '93), with every parity ever learned used again and block sizes
after Martinez-Mateo et al., QIC 15, 453 (2015), and Yan et al. (2008). Passes of rising block
size are followed by random halves of the key, a dozen at a time, until none of a dozen is odd.

The detector says which parities differ from its own, the emitter sends the next ones: a bit per
parity each way. See :mod:`.cascade_search` for what comes next, :mod:`.cascade_variants` for
block sizes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qkd_hal.distillation.bits import pack_bits, unpack_bits
from qkd_hal.distillation.cascade_search import Search
from qkd_hal.distillation.reconciliation import ParityQuery
from qkd_hal.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["CascadeOracle", "CascadeReconciler"]

_MAX_PASSES = 4  # those of the original; each takes memory at both ends


class CascadeReconciler:
    """The detector's side: asks, searches, corrects *key* in place.

    *block_sizes*, one for each pass, suit the error rate; a wrong guess of that costs efficiency,
    never correctness.
    """

    def __init__(self, key: NDArray[np.uint8], seed: bytes, block_sizes: Sequence[int]) -> None:
        self._sizes = block_sizes
        self._search = Search(key, seed, block_sizes, corrects=True)
        self._steps = self._search.steps()
        self._mine: NDArray[np.uint8]

    @property
    def corrected_bits(self) -> int:
        """Errors found so far."""
        return self._search.corrected_bits

    def begin(self) -> ParityQuery:
        """Return the first question, which names the block sizes."""
        self._mine = next(self._steps)
        return ParityQuery(len(self._mine), np.array(self._sizes, ">u4").tobytes())

    def answer(self, parities: NDArray[np.uint8]) -> ParityQuery | None:
        """Take the parities of the last question; return the next, or None when done."""
        if len(parities) != len(self._mine):
            raise ProtocolError("the emitter answers another question")
        marks = self._mine ^ parities
        try:
            self._mine = self._steps.send(marks)
        except StopIteration:
            return None
        return ParityQuery(len(self._mine), pack_bits(marks))

    def wipe(self) -> None:
        """Overwrite what was computed from the key."""
        self._search.wipe()


class CascadeOracle:
    """The emitter's side: answers parities of its key, up to a bound.

    *max_bits*: no more parities than this are ever revealed.
    """

    def __init__(self, key: NDArray[np.uint8], seed: bytes, max_bits: int) -> None:
        self._key = key
        self._seed = seed
        self._max_bits = max_bits
        self._leaked_bits = 0
        self._search: Search | None = None
        self._asked = 0

    @property
    def leaked_bits(self) -> int:
        """Parities answered so far."""
        return self._leaked_bits

    def answer(self, query: ParityQuery) -> NDArray[np.uint8]:
        """Return the parities that come next."""
        if self._leaked_bits + len(query) > self._max_bits:
            raise ProtocolError("the detector asks for more parities than a key can bear")
        parities = self._step(query.body) if self._search else self._begin(query.body)
        if len(parities) != len(query):
            raise ProtocolError("the detector asks for other parities than come next")
        self._asked = len(parities)
        self._leaked_bits += len(parities)
        return parities

    def wipe(self) -> None:
        """Overwrite what was computed from the key."""
        if self._search:
            self._search.wipe()

    def _begin(self, body: bytes) -> NDArray[np.uint8]:
        passes, rest = divmod(len(body), 4)
        sizes = np.frombuffer(body[: 4 * passes], ">u4").tolist()
        if rest or not 1 <= passes <= _MAX_PASSES or not all(sizes):
            raise ProtocolError("the detector's block sizes are malformed")
        self._search = Search(self._key, self._seed, sizes, corrects=False)
        self._steps = self._search.steps()
        return next(self._steps)

    def _step(self, body: bytes) -> NDArray[np.uint8]:
        try:
            return self._steps.send(unpack_bits(body, self._asked))
        except StopIteration:
            raise ProtocolError("the detector asks after the last question") from None
