"""A pool's source survives a device that is off, and one that goes away."""

from __future__ import annotations

import uuid

import pytest

from qkd_hal.cli.reopening import ReopeningSource
from qkd_hal.device import QKDDevice
from qkd_hal.errors import DeviceLostError, DeviceNotFoundError
from qkd_hal.keys import KeyId, Origin, Provenance
from qkd_hal.sources import (
    Agreement,
    Capability,
    Deadline,
    DeviceInfo,
    DeviceStatus,
    Slot,
)

HARDWARE = Provenance(Origin.HARDWARE)
CAN = frozenset({Capability.LOOK_UP, Capability.EXTRACT, Capability.RESERVE_AHEAD})


class MoodyDriver:
    """A driver that is off at first, and is lost after its first key."""

    def __init__(self) -> None:
        self.on = False
        self.opened = 0
        self.lost_next = False

    def open(self, deadline: Deadline) -> DeviceInfo:
        if not self.on:
            raise DeviceNotFoundError("it is off")
        self.opened += 1
        return DeviceInfo("v", "m", "1", "1", CAN, HARDWARE, "alice", ("bob",))

    def close(self) -> None: ...

    def status(self, deadline: Deadline) -> DeviceStatus:
        return DeviceStatus(stored_bytes=64)

    def reserve(self, peer: str, size: int | None, count: int, deadline: Deadline) -> list[Slot]:
        if self.lost_next:
            self.lost_next = False
            raise DeviceLostError("pulled out")
        return [Slot(KeyId(uuid.UUID(int=1)), peer, size)]

    def bind(self, peer: str, key_id: KeyId, deadline: Deadline) -> Slot:
        return Slot(key_id, peer, 32)

    def agree(self, slot: Slot, deadline: Deadline) -> Agreement:
        return Agreement.UNCHECKED

    def fetch(self, slot: Slot, out: memoryview, deadline: Deadline) -> None:
        out[:] = bytes(range(len(out)))

    def confirm(self, slot: Slot, deadline: Deadline) -> None: ...


@pytest.fixture
def driver() -> MoodyDriver:
    return MoodyDriver()


@pytest.fixture
def source(driver: MoodyDriver) -> ReopeningSource:
    return ReopeningSource(QKDDevice(driver, name="moody"))


def test_a_device_that_is_off_is_tried_at_each_call(
    driver: MoodyDriver, source: ReopeningSource
) -> None:
    with pytest.raises(DeviceNotFoundError):
        source.reserve("bob")
    assert source.provenance == Provenance(Origin.UNKNOWN)
    assert not source.can_serve("bob", 256)
    driver.on = True
    with source.reserve("bob") as reservation:
        assert len(reservation.key) == 32
    assert source.provenance == HARDWARE
    assert source.can_serve("bob", 256)
    assert not source.can_serve("bob", 8 * 65)


def test_a_lost_device_is_opened_again(driver: MoodyDriver, source: ReopeningSource) -> None:
    driver.on = True
    source.reserve("bob").burn()
    driver.lost_next = True
    with pytest.raises(DeviceLostError):
        source.reserve("bob")
    assert source.provenance == HARDWARE  # what it gave stays what it was
    source.reserve("bob").burn()
    assert driver.opened == 2


def test_keys_are_looked_up_at_the_device(driver: MoodyDriver, source: ReopeningSource) -> None:
    driver.on = True
    with source.reserve("bob") as reservation:
        ref = reservation.ref
    assert len(source.take(type(ref)("bob", ref.key_id))) == 32
