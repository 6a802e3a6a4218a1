"""Handles and key IDs: what an application can and cannot do with the modem's keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qkd_hal.errors import KeyConsumedError, KeyNotFoundError, KeysExhaustedError, UsageError
from qkd_hal.key_ids import KeyIdSealer, KeyPlace
from qkd_hal.keys import KeyId
from qkd_hal_simulators.modem import key_service
from qkd_hal_simulators.modem.key_service import KeyService

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_mock import MockerFixture

    from tests.simulators.conftest import OpenStore

KEY = bytes(range(1, 201))
ID_SECRET = bytes(32)
BOB_TO_ALICE = KeyIdSealer(ID_SECRET, b"bob>alice")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def service_over(store: OpenStore, clock: Callable[[], float] | None = None) -> KeyService:
    return KeyService(
        store.keys,
        peer="bob",
        own_ids=KeyIdSealer(ID_SECRET, b"alice>bob"),
        peer_ids=BOB_TO_ALICE,
        clock=clock or Clock(),
    )


@pytest.fixture
def service(store: OpenStore) -> KeyService:
    store.add(0, KEY)
    return service_over(store)


def fetch(service: KeyService, handle: bytes, size: int, offset: int = 0) -> bytes:
    out = bytearray(size)
    service.fetch(handle, offset, memoryview(out))
    return bytes(out)


def test_a_reserved_key_is_fetched_again_until_it_is_confirmed(service: KeyService) -> None:
    ((_, handle),) = service.reserve("bob", 32, 1)
    assert fetch(service, handle, 32) == fetch(service, handle, 32) == KEY[:32]
    service.confirm(handle)
    service.confirm(handle)
    with pytest.raises(KeyNotFoundError):
        fetch(service, handle, 32)


def test_parts_are_fetched_in_any_order_and_confirmed_parts_are_gone(service: KeyService) -> None:
    ((_, handle),) = service.reserve("bob", 32, 1)
    assert fetch(service, handle, 8) == KEY[:8]
    service.confirm(handle)
    with pytest.raises(KeyConsumedError):
        fetch(service, handle, 8, offset=7)
    assert fetch(service, handle, 24, offset=8) == KEY[8:32]


def test_key_ids_open_at_the_peer_and_only_there(service: KeyService) -> None:
    ((key_id, _),) = service.reserve("bob", 32, 1)
    assert KeyIdSealer(ID_SECRET, b"alice>bob").open(key_id) == KeyPlace(0, 0, 32)
    with pytest.raises(KeyNotFoundError):
        service.bind("bob", key_id)


def test_binding_consumes_nothing_and_the_first_fetch_decides(service: KeyService) -> None:
    key_id = BOB_TO_ALICE.seal(KeyPlace(0, 0, 32))
    (one, size), (other, _) = service.bind("bob", key_id), service.bind("bob", key_id)
    assert size == 32
    assert fetch(service, one, 32) == KEY[100:132]
    assert fetch(service, one, 32) == KEY[100:132]
    with pytest.raises(KeyNotFoundError):
        fetch(service, other, 32)
    with pytest.raises(KeyNotFoundError):
        service.bind("bob", key_id)


def test_a_bound_key_stays_takeable_over_a_restart_and_a_fetched_one_does_not(
    open_store: Callable[..., OpenStore],
) -> None:
    store = open_store()
    store.add(0, KEY)
    bound, fetched = (BOB_TO_ALICE.seal(KeyPlace(0, start, 32)) for start in (0, 32))
    before = service_over(store)
    before.bind("bob", bound)
    fetch(before, before.bind("bob", fetched)[0], 1)
    after = service_over(open_store())
    assert fetch(after, after.bind("bob", bound)[0], 32) == KEY[100:132]
    with pytest.raises(KeyNotFoundError):
        after.bind("bob", fetched)


def test_a_forged_id_never_reaches_the_store(store: OpenStore, mocker: MockerFixture) -> None:
    locate = mocker.spy(store.keys, "locate")
    with pytest.raises(KeyNotFoundError):
        service_over(store).bind("bob", KeyId.random())
    locate.assert_not_called()


def test_unknown_handles_are_refused(service: KeyService) -> None:
    for call in (lambda: service.agree(bytes(16)), lambda: fetch(service, bytes(16), 1)):
        with pytest.raises(KeyNotFoundError):
            call()
    ((_, handle),) = service.reserve("bob", 1, 1)
    assert service.agree(handle)


@pytest.mark.parametrize(("size", "count"), [(0, 1), (65537, 1), (1, 0), (1, 257), (-1, 1)])
def test_senseless_reservations_are_refused(service: KeyService, size: int, count: int) -> None:
    with pytest.raises(UsageError, match="cannot reserve"):
        service.reserve("bob", size, count)


@pytest.mark.parametrize(("offset", "size"), [(-1, 1), (0, 33), (32, 1)])
def test_bytes_outside_the_key_are_refused(service: KeyService, offset: int, size: int) -> None:
    ((_, handle),) = service.reserve("bob", 32, 1)
    with pytest.raises(UsageError, match="not within"):
        fetch(service, handle, size, offset)


def test_another_peer_is_refused_with_the_right_name(service: KeyService) -> None:
    for call in (
        lambda: service.reserve("carol", 32, 1),
        lambda: service.bind("carol", BOB_TO_ALICE.seal(KeyPlace(0, 0, 32))),
    ):
        with pytest.raises(UsageError, match="'bob'"):
            call()


def test_idle_handles_expire_and_burn_what_they_consumed(store: OpenStore) -> None:
    store.add(0, KEY)
    clock = Clock()
    service = service_over(store, clock)
    ((_, reserved),) = service.reserve("bob", 10, 1)
    bound_id = BOB_TO_ALICE.seal(KeyPlace(0, 0, 10))
    bound, _ = service.bind("bob", bound_id)
    clock.now = 601.0
    service.expire()
    for handle in (reserved, bound):
        with pytest.raises(KeyNotFoundError):
            fetch(service, handle, 1)
    out = bytearray(10)
    store.keys.read(KeyPlace(0, 0, 10), memoryview(out), own=True)
    assert not any(out)
    assert fetch(service, service.bind("bob", bound_id)[0], 10) == KEY[100:110]


def test_use_keeps_a_handle_alive(store: OpenStore) -> None:
    store.add(0, KEY)
    clock = Clock()
    service = service_over(store, clock)
    ((_, handle),) = service.reserve("bob", 10, 1)
    for clock.now in (500.0, 1000.0):
        service.expire()
        assert service.agree(handle)


def test_handles_are_bounded(store: OpenStore, mocker: MockerFixture) -> None:
    mocker.patch.object(key_service, "_MAX_HELD", 2)
    store.add(0, KEY)
    service = service_over(store)
    service.reserve("bob", 1, 2)
    with pytest.raises(KeysExhaustedError, match="too many"):
        service.reserve("bob", 1, 1)
    with pytest.raises(KeysExhaustedError, match="too many"):
        service.bind("bob", BOB_TO_ALICE.seal(KeyPlace(0, 0, 1)))
