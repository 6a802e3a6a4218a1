"""The whole contract of a device, on USB boxes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from qkd_hal.testing.conformance import FullConformance

if TYPE_CHECKING:
    from qkd_hal.device import QKDDevice


class TestUsbBoxes(FullConformance):
    """Alice's and Bob's box."""

    serial_numbers = frozenset({"MOCK-ALICE", "MOCK-BOB"})

    @pytest.fixture
    def disturb(self, boxes: Any) -> Any:
        return boxes

    @pytest.fixture
    def pair(self, alice: QKDDevice, bob: QKDDevice) -> tuple[QKDDevice, QKDDevice]:
        return alice, bob
