"""A device as a KeySource."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from qkd_hal.device import DeviceKeySource, QKDDevice
from qkd_hal.errors import KeyConsumedError, KeyNotFoundError, ProtocolError, UnsupportedError
from qkd_hal.keys import KeyRef
from qkd_hal.sources import Capability, DeviceStatus, KeySource

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_mock import MockerFixture

    from tests.device.conftest import Pair


def test_what_one_end_reserves_the_other_takes_once(pair: Pair) -> None:
    alice: KeySource = DeviceKeySource(pair.alice)
    bob: KeySource = DeviceKeySource(pair.bob)
    with alice.reserve("bob", 48) as reservation:
        assert reservation.ref.source == "alice"
        with bob.take(reservation.ref, 48) as key:
            assert key.matches(reservation.key)
        with pytest.raises(KeyNotFoundError):
            bob.take(reservation.ref, 48)


def test_a_reservation_given_back_is_burned(pair: Pair) -> None:
    reservation = DeviceKeySource(pair.alice).reserve("bob")
    reservation.give_back()
    with pytest.raises(KeyConsumedError), reservation.key.exposed():
        pass
    assert pair.alice_driver.erased(reservation.ref.key_id)


def test_a_key_of_another_size_is_refused_and_kept(pair: Pair) -> None:
    with DeviceKeySource(pair.alice).reserve("bob", 48) as reservation:
        with pytest.raises(KeyNotFoundError):
            DeviceKeySource(pair.bob).take(reservation.ref, 32)
        assert len(DeviceKeySource(pair.bob).take(reservation.ref, 48)) == 48


def test_a_reference_to_our_own_key_is_refused_without_asking_the_device(pair: Pair) -> None:
    with DeviceKeySource(pair.alice).reserve("bob") as reservation:
        mirrored = KeyRef("alice", reservation.ref.key_id)
        with pytest.raises(KeyNotFoundError, match="this site owns"):
            DeviceKeySource(pair.alice).take(mirrored)
    assert "bind" not in pair.alice_driver.calls


@pytest.mark.parametrize(
    ("status", "bits", "can"),
    [
        (DeviceStatus(stored_bytes=32), 256, True),
        (DeviceStatus(stored_bytes=32), 257, False),
        (DeviceStatus(stored_keys=2), 512, True),
        (DeviceStatus(stored_keys=2), 513, False),
        (DeviceStatus(), 10**9, True),
    ],
)
def test_the_hint_comes_from_the_status(
    status: DeviceStatus, bits: int, can: bool, pair: Pair
) -> None:
    pair.alice_driver.health = status
    assert DeviceKeySource(pair.alice).can_serve("bob", bits) is can


def test_the_hint_is_false_for_strangers_and_sick_devices(pair: Pair) -> None:
    source = DeviceKeySource(pair.alice)
    assert not source.can_serve("carol", 1)
    pair.alice_driver.fail("status", ProtocolError("noise"))
    assert not source.can_serve("bob", 1)


def test_provenance_is_the_devices(pair: Pair) -> None:
    assert DeviceKeySource(pair.alice).provenance.simulated


def test_a_device_that_cannot_reserve_ahead_wants_a_pool(new_pair: Callable[..., Pair]) -> None:
    pair = new_pair(frozenset({Capability.EXTRACT, Capability.LOOK_UP}))
    with pytest.raises(UnsupportedError, match="Put a pool in front"):
        DeviceKeySource(pair.alice)


def test_a_device_without_a_site_name_is_refused(pair: Pair, mocker: MockerFixture) -> None:
    nameless = replace(pair.alice.info, site="")
    mocker.patch.object(QKDDevice, "info", nameless)
    with pytest.raises(UnsupportedError, match=r"DeviceInfo\.site"):
        DeviceKeySource(pair.alice)


def test_keys_that_never_leave_their_device_are_refused_before_one_is_used(
    token_pair: Pair,
) -> None:
    with pytest.raises(UnsupportedError, match="never leave"):
        DeviceKeySource(token_pair.alice)
    assert "reserve" not in token_pair.alice_driver.calls
