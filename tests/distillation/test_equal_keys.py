"""Whatever the error rate: no block is accepted whose ends hold different keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest

from qkd_hal.distillation.stages import Cascade, PolynomialHash, Stages
from qkd_hal.errors import VerificationError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qkd_hal.distillation.reconciliation import ParityOracle, ParityQuery, Reconciler
    from tests.distillation.conftest import Pair

MakePair = Callable[..., "Pair"]

RATES = [0.005, 0.015, 0.03, 0.04]  # beyond, blocks this small hold no key


class Careless:
    """Cascade that leaves two errors in every block."""

    name = "careless-1"

    def reconciler(self, key: NDArray[np.uint8], seed: bytes, qber: float) -> Reconciler:
        return CarelessReconciler(key, Cascade().reconciler(key, seed, qber))

    def oracle(self, key: NDArray[np.uint8], seed: bytes) -> ParityOracle:
        return Cascade().oracle(key, seed)


class CarelessReconciler:
    def __init__(self, key: NDArray[np.uint8], real: Reconciler) -> None:
        self._key = key
        self._real = real

    @property
    def corrected_bits(self) -> int:
        return self._real.corrected_bits

    def wipe(self) -> None:
        self._real.wipe()

    def begin(self) -> ParityQuery:
        return self._real.begin()

    def answer(self, parities: NDArray[np.uint8]) -> ParityQuery | None:
        query = self._real.answer(parities)
        if query is None:
            self._key[[10, 700]] ^= 1
        return query


class CutHash:
    """Four bits of the hash, which lets one unequal pair in sixteen pass."""

    name = "cut-1"

    def hash(self, key: NDArray[np.uint8], seed: bytes) -> bytes:
        whole = PolynomialHash().hash(key, seed)
        return bytes([whole[0] & 0x0F]) + bytes(15)


def run_blocks(pair: Pair, blocks: int) -> tuple[int, int, int]:
    """Return how many blocks were accepted with equal keys, with different ones, and refused."""
    for _ in range(blocks):
        pair.photons()
        pair.run()
    mine, theirs = pair.emitter.active, pair.detector.active
    equal = sum(theirs.get(number) == key for number, key in mine.items())
    return equal, len(mine) - equal, len(pair.detector.aborts)


def check_no_block_differs(make_pair: MakePair, rate: float, blocks: int) -> None:
    pair = make_pair(qber=rate, seed=int(1000 * rate))
    equal, different, refused = run_blocks(pair, blocks)
    assert different == 0
    assert equal + refused >= blocks
    assert equal > blocks // 2
    pair.check_keys()


@pytest.mark.parametrize("rate", RATES)
def test_no_unequal_pair_is_accepted(make_pair: MakePair, rate: float) -> None:
    check_no_block_differs(make_pair, rate, 50)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("rate", RATES)
def test_no_unequal_pair_is_accepted_in_thousands(make_pair: MakePair, rate: float) -> None:
    check_no_block_differs(make_pair, rate, 600)


def test_a_careless_reconciliation_is_always_caught(make_pair: MakePair) -> None:
    pair = make_pair(seed=3)
    use(pair, Stages(reconciliation=Careless()))
    equal, different, refused = run_blocks(pair, 30)
    assert (equal, different) == (0, 0)
    assert refused >= 30
    assert all(isinstance(abort.error, VerificationError) for abort in pair.detector.aborts)


def test_these_tests_would_see_an_unequal_pair(make_pair: MakePair) -> None:
    """With a cut hash the engine accepts what it must not, and as seldom as the bits say."""
    pair, blocks = make_pair(seed=4), 120
    use(pair, Stages(reconciliation=Careless(), verification=CutHash()))
    equal, different, _ = run_blocks(pair, blocks)
    assert equal == 0
    # Five standard deviations of a binomial around 1/16.
    assert 0 < different < blocks / 16 + 5 * (blocks / 16) ** 0.5


def use(pair: Pair, stages: Stages) -> None:
    for host in (pair.emitter, pair.detector):
        host.stages = stages
        host.restart()
        host.events.clear()
