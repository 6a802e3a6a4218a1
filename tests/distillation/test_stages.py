"""A faster stage can take the place of one of ours, if both ends take it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest

from qkd_hal.distillation.session import PeerRefused, Synchronised
from qkd_hal.distillation.stages import Cascade, PolynomialHash, Stages, Toeplitz

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qkd_hal.distillation.reconciliation import ParityOracle, Reconciler
    from tests.distillation.conftest import Pair

MakePair = Callable[..., "Pair"]


class Foreign:
    """Somebody else's methods, all three: they count and pass the work on."""

    name = "foreign-1"

    def __init__(self) -> None:
        self.calls: list[str] = []

    def oracle(self, key: NDArray[np.uint8], seed: bytes) -> ParityOracle:
        self.calls.append("oracle")
        return Cascade().oracle(key, seed)

    def reconciler(self, key: NDArray[np.uint8], seed: bytes, qber: float) -> Reconciler:
        self.calls.append("reconciler")
        return Cascade().reconciler(key, seed, qber)

    def hash(self, key: NDArray[np.uint8], seed: bytes) -> bytes:
        self.calls.append("hash")
        return PolynomialHash().hash(key, seed)[::-1]

    def seed_bits(self, key_bits: int, length: int) -> int:
        return Toeplitz().seed_bits(key_bits, length) + 8

    def amplify(
        self, key: NDArray[np.uint8], seed: NDArray[np.uint8], length: int
    ) -> NDArray[np.uint8]:
        self.calls.append("amplify")
        return Toeplitz().amplify(key, seed[8:], length)


def use(pair: Pair, stages: Stages, *, at_both: bool) -> None:
    for host in (pair.emitter, pair.detector)[: 2 if at_both else 1]:
        host.stages = stages
        host.restart()
        host.events.clear()


def test_methods_of_somebody_else_make_the_key(make_pair: MakePair) -> None:
    pair, theirs = make_pair(), Foreign()
    use(pair, Stages(theirs, theirs, theirs), at_both=True)
    pair.photons()
    pair.run()
    assert pair.emitter.active == pair.detector.active
    assert list(pair.emitter.active) == [0]
    assert sorted(theirs.calls) == ["amplify", "amplify", "hash", "hash", "oracle", "reconciler"]


@pytest.mark.parametrize("place", ["reconciliation", "verification", "amplification"])
def test_ends_with_other_methods_refuse_each_other(make_pair: MakePair, place: str) -> None:
    pair = make_pair()
    use(pair, Stages(**{place: Foreign()}), at_both=False)
    pair.run()
    for host in (pair.emitter, pair.detector):
        assert any(isinstance(event, PeerRefused) for event in host.events)
        assert not any(isinstance(event, Synchronised) for event in host.events)
