"""A PKCS#11 token's driver under random calls, on modules that fail at random."""

from __future__ import annotations

import pytest

from tests.soak.pkcs11_tokens import Pkcs11World
from tests.soak.soak import CALLS, check_variety, soak

LONG = pytest.param(100_000, marks=[pytest.mark.slow, pytest.mark.timeout(900)])
KINDS_OF_FAULTS = 6


@pytest.mark.parametrize("operations", [10_000, LONG])
@pytest.mark.parametrize(("inside", "without"), [(False, set()), (True, {"get", "look up"})])
def test_pkcs11_tokens_keep_their_promises(
    operations: int, inside: bool, without: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes, faults = soak(lambda seed: Pkcs11World(seed, monkeypatch, inside=inside), operations)
    check_variety(outcomes, faults, of_faults=KINDS_OF_FAULTS, calls=CALLS - without)
