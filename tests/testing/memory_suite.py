"""The suite, set up for a pair of boxes in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qkd_hal.device import QKDDevice
from qkd_hal.testing.conformance import FullConformance
from tests.testing.memory_pair import Cutter, DerivingDriver, make_boxes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qkd_hal.sources import Capability
    from qkd_hal.testing.conformance import Pair
    from tests.testing.memory_pair import MemoryDriver

__all__ = ["MemorySuite", "memory_suite"]


class MemorySuite(FullConformance):
    """Checks of ``driver`` on boxes that claim ``claims``: the same, or alice's and bob's."""

    serial_numbers = frozenset({"SN", "SN-alice", "SN-bob"})
    driver: type[MemoryDriver] = DerivingDriver
    claims: tuple[frozenset[Capability], ...]

    @pytest.fixture
    def lines(self) -> tuple[str, str]:
        return make_boxes(*self.claims)

    @pytest.fixture
    def pair(self, lines: tuple[str, str]) -> Iterator[Pair]:
        with self._device(lines[0]) as alice, self._device(lines[1]) as bob:
            yield alice, bob

    @pytest.fixture
    def disturb(self, lines: tuple[str, str]) -> Cutter:
        return Cutter(lines)

    def reopen(self, device: QKDDevice) -> QKDDevice:
        return self._device(device.name)

    def _device(self, line: str) -> QKDDevice:
        return QKDDevice(self.driver(line), name=line)


def memory_suite(
    driver: type[MemoryDriver], *claims: frozenset[Capability], patience: float = 0.2
) -> type[MemorySuite]:
    """Return a suite that waits for nothing longer than *patience*."""
    members = {"driver": driver, "claims": claims, "patience": patience, "at_once": patience}
    return type("MemorySuite", (MemorySuite,), members)
