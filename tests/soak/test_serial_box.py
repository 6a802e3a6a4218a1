"""A serial box's driver under random calls and random faults."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from qkd_hal_firmware_mocks.boxlink.server import BOX_FAULTS
from tests.soak.boxes import serial_boxes
from tests.soak.soak import check_variety, soak

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    "operations",
    [10_000, pytest.param(100_000, marks=[pytest.mark.slow, pytest.mark.timeout(900)])],
)
def test_serial_boxes_keep_their_promises(operations: int, tmp_path: Path) -> None:
    outcomes, faults = soak(partial(serial_boxes, directory=tmp_path), operations, worlds=8)
    check_variety(outcomes, faults, of_faults=len(BOX_FAULTS))
