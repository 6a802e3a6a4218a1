"""The optical modem's driver under random calls, on modems that misbehave at random."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from qkd_hal_firmware_mocks.optical_modem import Fault
from tests.soak.modems import ModemWorld
from tests.soak.soak import check_variety, soak

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    "operations",
    [10_000, pytest.param(100_000, marks=[pytest.mark.slow, pytest.mark.timeout(900)])],
)
def test_optical_modems_keep_their_promises(operations: int, tmp_path: Path) -> None:
    make = partial(ModemWorld, directory=tmp_path)
    outcomes, faults = soak(make, operations, worlds=8)
    check_variety(outcomes, faults, of_faults=len(Fault))
