"""Two pools over loopback: filling, serving, closing, crashing, and what they refuse."""

from __future__ import annotations

import logging
import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from qkd_hal.errors import (
    ConfigurationError,
    DeadlineError,
    KeyConsumedError,
    KeyMismatchError,
    KeyNotFoundError,
    KeysExhaustedError,
    LinkError,
    StateError,
    StoreError,
    UsageError,
)
from qkd_hal.key_ids import KeyPlace
from qkd_hal.keys import KeyId, KeyRef, Origin, Provenance, QuantumKey
from qkd_hal.pool import Filler, MemoryStore, Pool, SQLiteStore
from qkd_hal.pool.limits import FailureLimit
from qkd_hal.sources import KeySource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pytest_mock import MockerFixture

    from tests.pool.conftest import TwoSites

SECRET = bytes(range(32))


@pytest.fixture
def sites(two_sites: Callable[..., TwoSites]) -> TwoSites:
    return two_sites()


@pytest.fixture
def stores(tmp_path: Path) -> Callable[[str], SQLiteStore]:
    return lambda site: SQLiteStore(tmp_path / site / "keys.sqlite")


def _take_all(sites: TwoSites, refs: list[KeyRef], size: int = 32) -> list[bytes]:
    keys = []
    for ref in refs:
        with sites.bob.source.take(ref, size) as key, key.exposed() as view:
            keys.append(bytes(view))
    return keys


def _drain(pool: Pool, peer: str, size: int = 32) -> Iterator[tuple[KeyRef, bytes]]:
    while True:
        try:
            reservation = pool.source.reserve(peer, size)
        except KeysExhaustedError:
            return
        with reservation.key.exposed() as view:
            yield reservation.ref, bytes(view)


# -- serving -----------------------------------------------------------------------------


def test_the_source_is_a_key_source(sites: TwoSites) -> None:
    assert isinstance(sites.alice.source, KeySource)


def test_every_key_of_a_block_is_served_once_and_the_check_key_never(sites: TwoSites) -> None:
    sites.fill(size=4096)
    block = next(iter(sites.devices["alice"].history.values()))
    served = dict(_drain(sites.alice, "bob"))
    assert b"".join(served.values()) == block[:-32]
    assert _take_all(sites, list(served)) == list(served.values())


@pytest.mark.parametrize("size", [1, 32, 100, 3000])
def test_a_key_may_have_any_size(sites: TwoSites, size: int) -> None:
    sites.fill(2, size=4096)
    with sites.alice.source.reserve("bob", size) as reservation:
        assert len(reservation.key) == size
        with sites.bob.source.take(reservation.ref, size) as key:
            assert key.matches(reservation.key)


@pytest.mark.parametrize("size", [0, -1, (1 << 16) + 1])
def test_a_key_of_no_or_too_many_bytes_is_refused(sites: TwoSites, size: int) -> None:
    with pytest.raises(UsageError):
        sites.alice.source.reserve("bob", size)
    with pytest.raises(UsageError):
        sites.bob.source.take(KeyRef("alice", KeyId.random()), size)


def test_a_key_is_taken_once(sites: TwoSites) -> None:
    sites.fill()
    reservation = sites.alice.source.reserve("bob")
    sites.bob.source.take(reservation.ref)
    with pytest.raises(KeyNotFoundError):
        sites.bob.source.take(reservation.ref)
    assert sites.bob.status().spaces[0].refused == 1


def test_a_key_of_another_size_is_refused_and_stays_there(sites: TwoSites) -> None:
    sites.fill()
    reservation = sites.alice.source.reserve("bob", 32)
    for size in (16, 33):
        with pytest.raises(KeyNotFoundError):
            sites.bob.source.take(reservation.ref, size)
    assert sites.bob.source.take(reservation.ref, 32).matches(reservation.key)


def test_a_forged_id_never_reaches_what_is_open(sites: TwoSites, mocker: MockerFixture) -> None:
    sites.fill()
    sites.alice.source.reserve("bob")
    link = sites.bob._links["alice"]
    take = mocker.spy(link.worker.core.openings, "take")
    for key_id in (KeyId.random(), KeyId.from_bytes(os.urandom(16))):
        with pytest.raises(KeyNotFoundError):
            sites.bob.source.take(KeyRef("alice", key_id))
    assert take.call_count == 0
    assert link.limit.count == 2


def test_too_many_failures_are_not_even_opened(sites: TwoSites) -> None:
    sites.fill()
    ref = sites.alice.source.reserve("bob").ref
    link = sites.bob._links["alice"]
    link.limit = FailureLimit(rate=0, burst=1)
    with pytest.raises(KeyNotFoundError, match="forged"):
        sites.bob.source.take(KeyRef("alice", KeyId.random()))
    with pytest.raises(KeyNotFoundError, match="too many"):
        sites.bob.source.take(ref)
    link.limit = FailureLimit()
    sites.bob.source.take(ref)


def test_an_id_of_our_own_keys_is_not_served_to_us(sites: TwoSites) -> None:
    sites.fill()
    reservation = sites.alice.source.reserve("bob")
    with pytest.raises(KeyNotFoundError):
        sites.alice.source.take(reservation.ref)
    with pytest.raises(KeyNotFoundError):  # relabelled: the seal of the direction refuses it
        sites.alice.source.take(KeyRef("bob", reservation.ref.key_id))
    with pytest.raises(KeyNotFoundError):
        sites.bob.source.take(KeyRef("carol", reservation.ref.key_id))


def test_keys_cannot_be_guessed_from_one_another(sites: TwoSites) -> None:
    sites.fill()
    ids = [sites.alice.source.reserve("bob").ref.key_id for _ in range(50)]
    firsts = {bytes(key_id)[:4] for key_id in ids}
    assert len(firsts) == 50


def test_both_sites_may_own_keys(sites: TwoSites) -> None:
    sites.fill()
    sites.alice.accept_blocks("bob", sites.devices["alice"])
    with sites.devices["bob"].reserve("alice", 4096) as reservation:
        sites.bob.add_block("alice", reservation.key)
    one, other = sites.alice.source.reserve("bob"), sites.bob.source.reserve("alice")
    assert sites.alice.source.take(other.ref).matches(other.key)
    assert sites.bob.source.take(one.ref).matches(one.key)


def test_an_empty_pool_says_so(sites: TwoSites) -> None:
    assert not sites.alice.source.can_serve("bob", 1)
    with pytest.raises(KeysExhaustedError, match="bob"):
        sites.alice.source.reserve("bob")


def test_can_serve_follows_the_level(sites: TwoSites) -> None:
    sites.fill(size=4096)
    assert sites.alice.source.can_serve("bob", 4064 * 8)
    assert not sites.alice.source.can_serve("bob", 4064 * 8 + 1)
    assert not sites.alice.source.can_serve("carol", 1)
    sites.alice.source.reserve("bob", 64)
    assert sites.alice.source.can_serve("bob", 4000 * 8)
    assert not sites.alice.source.can_serve("bob", 4000 * 8 + 1)


def test_a_key_given_back_is_served_again(sites: TwoSites) -> None:
    sites.fill(size=64)
    first = sites.alice.source.reserve("bob", 32)
    first.give_back()
    sites.flush()
    again = sites.alice.source.reserve("bob", 32)
    assert again.ref == first.ref
    assert sites.bob.source.take(again.ref).matches(again.key)
    again.burn()
    with pytest.raises(KeysExhaustedError):
        sites.alice.source.reserve("bob", 32)


def test_a_key_given_back_after_its_bytes_were_shown_is_burned(sites: TwoSites) -> None:
    sites.fill(size=64)
    first = sites.alice.source.reserve("bob", 32)
    with first.key.exposed():
        pass
    first.give_back()
    sites.flush()
    with pytest.raises(KeysExhaustedError):
        sites.alice.source.reserve("bob", 32)


def test_threads_get_different_keys(sites: TwoSites) -> None:
    sites.fill(8)
    served: list[tuple[KeyRef, bytes]] = []

    def work() -> None:
        served.extend(_drain(sites.alice, "bob"))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(served) == 8 * 4064 // 32
    assert len({key for _, key in served}) == len(served)
    assert _take_all(sites, [ref for ref, _ in served]) == [key for _, key in served]


def test_of_two_threads_that_take_one_key_one_gets_it(sites: TwoSites) -> None:
    sites.fill(4)
    refs = [ref for ref, _ in _drain(sites.alice, "bob")]
    taken: list[KeyRef] = []

    def work() -> None:
        for ref in refs:
            try:
                sites.bob.source.take(ref)
            except KeyNotFoundError:
                continue
            taken.append(ref)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken, key=str) == sorted(refs, key=str)


# -- filling -----------------------------------------------------------------------------


def test_different_bytes_are_noticed_and_void_at_both_ends(sites: TwoSites) -> None:
    sites.devices["bob"].corrupt = True
    with pytest.raises(KeyMismatchError):
        sites.fill()
    assert sites.alice.level("bob") == 0
    assert sites.alice.status().spaces[0].blocks == 0
    assert "key-mismatch" in sites.alice.status().spaces[0].events[0]
    sites.devices["bob"].corrupt = False
    sites.fill()
    assert sites.alice.source.can_serve("bob", 4064 * 8)


def test_a_block_that_the_peer_cannot_fetch_is_void(sites: TwoSites) -> None:
    sites.bob.accept_blocks("alice", sites.devices["bob"])
    key = QuantumKey(
        bytes(100),
        provenance=Provenance(Origin.HARDWARE),
        ref=KeyRef("alice", KeyId.random()),
    )
    with pytest.raises(LinkError, match="key-not-found"):
        sites.alice.add_block("bob", key)
    assert sites.alice.status().spaces[0].blocks == 0


def test_a_bug_of_the_peers_device_voids_one_block_only(
    sites: TwoSites, mocker: MockerFixture
) -> None:
    take = mocker.patch.object(sites.devices["bob"], "take", side_effect=ZeroDivisionError)
    with pytest.raises(LinkError, match="device"):
        sites.fill()
    mocker.stop(take)
    sites.fill()


def test_closing_wakes_whoever_waits_for_a_block(sites: TwoSites, mocker: MockerFixture) -> None:
    asked, answered = threading.Event(), threading.Event()

    def hang(*_: object) -> QuantumKey:
        asked.set()
        answered.wait(20)
        raise KeyNotFoundError("too late")

    mocker.patch.object(sites.devices["bob"], "take", side_effect=hang)
    with ThreadPoolExecutor(1) as executor:
        waiting = executor.submit(sites.fill)
        assert asked.wait(5)
        sites.alice.close()
        try:
            with pytest.raises(StateError, match="closed"):
                waiting.result(5)
        finally:
            answered.set()


def test_a_link_that_breaks_under_an_offer_answers_at_once(
    sites: TwoSites, mocker: MockerFixture
) -> None:
    sites.bob.accept_blocks("alice", sites.devices["bob"])
    worker = sites.alice._links["bob"].worker
    mocker.patch.object(worker._current, "send", side_effect=LinkError("broken pipe"))
    mocker.patch.object(worker, "_up")  # and it stays down
    with (
        sites.devices["alice"].reserve("bob", 100) as reservation,
        pytest.raises(LinkError),
    ):
        sites.alice.add_block("bob", reservation.key, timeout=5)


def test_a_store_that_fails_under_an_offer_is_told_to_the_filler(
    sites: TwoSites, mocker: MockerFixture
) -> None:
    mocker.patch.object(sites.alice._store, "apply", side_effect=StoreError("disk full"))
    with (
        sites.devices["alice"].reserve("bob", 100) as reservation,
        pytest.raises(StoreError, match="disk full"),
    ):
        sites.alice.add_block("bob", reservation.key, timeout=5)


def test_a_block_is_refused_where_no_device_is_attached(sites: TwoSites) -> None:
    with (
        sites.devices["alice"].reserve("bob", 100) as reservation,
        pytest.raises(LinkError, match="configuration"),
    ):
        sites.alice.add_block("bob", reservation.key)


def test_a_source_given_with_the_link_answers_the_first_offer(sites: TwoSites) -> None:
    devices = sites.devices
    with Pool(MemoryStore(), site="alice") as alice, Pool(MemoryStore(), site="bob") as bob:
        address = alice.link("bob", "tcp://127.0.0.1:0", listen=True, secret=SECRET)
        bob.link("alice", address, listen=False, secret=SECRET, source=devices["bob"])
        alice.wait_ready("bob")
        with devices["alice"].reserve("bob", 100) as reservation:
            alice.add_block("bob", reservation.key)
        bob.accept_blocks("alice", devices["bob"])  # again, as a filler does: it counts once
        assert len(bob._sources) == 1


def test_a_block_needs_a_reference_and_a_size(sites: TwoSites) -> None:
    hardware = Provenance(Origin.HARDWARE)
    with pytest.raises(UsageError, match="reference"):
        sites.alice.add_block("bob", QuantumKey(bytes(100), provenance=hardware))
    ref = KeyRef("alice", KeyId.random())
    with pytest.raises(UsageError, match="33"):
        sites.alice.add_block("bob", QuantumKey(bytes(32), provenance=hardware, ref=ref))


def test_the_provenance_of_a_key_is_the_worse_of_both_ends(sites: TwoSites) -> None:
    assert sites.alice.source.provenance == Provenance(Origin.UNKNOWN)
    sites.devices["alice"].provenance = Provenance(Origin.HARDWARE)
    sites.devices["bob"].provenance = Provenance(Origin.SIMULATED, ("relay",))
    sites.fill()
    worst = Provenance(Origin.SIMULATED, ("relay",))
    reservation = sites.alice.source.reserve("bob")
    assert reservation.key.provenance == worst
    assert sites.alice.source.provenance == worst
    assert sites.bob.source.take(reservation.ref).provenance == worst


def test_a_filler_keeps_the_level(sites: TwoSites) -> None:
    filler, _ = sites.fillers(low_water=8192, high_water=16384)
    served = 0
    for _ in range(2000):
        try:
            reservation = sites.alice.source.reserve("bob")
        except KeysExhaustedError:
            continue
        assert sites.bob.source.take(reservation.ref).matches(reservation.key)
        served += 1
    assert served > 1000
    assert filler.status().blocks >= served * 32 // 4064
    assert sites.alice.level("bob") <= 16384 + 4064
    assert filler.status().failures == 0


def test_a_filler_stops_at_high_water(sites: TwoSites) -> None:
    filler, _ = sites.fillers(low_water=8192, high_water=16384)
    changed = threading.Event()
    sites.alice.watch_level("bob", changed)
    while sites.alice.level("bob") < 16384:
        assert changed.wait(5)
        changed.clear()
    filler.close()
    assert filler.status().blocks == -(-16384 // 4064)


def test_a_filler_reports_a_dry_device_and_goes_on_when_it_recovers(sites: TwoSites) -> None:
    sites.devices["alice"].budget = 0
    failed = threading.Event()
    sites.devices["alice"].on_exhausted = failed.set
    filler, _ = sites.fillers(low_water=4064, high_water=4064)
    assert failed.wait(5)
    failed.clear()
    assert failed.wait(5)
    assert filler.status().error.startswith("[keys-exhausted]")
    changed = threading.Event()
    sites.alice.watch_level("bob", changed)
    sites.devices["alice"].budget = 1 << 20
    while sites.alice.level("bob") < 4064:
        assert changed.wait(5)
        changed.clear()
    filler.close()
    assert (filler.status().failures, filler.status().error) == (0, "")


def test_a_filler_outlives_a_bug_of_its_source_and_does_not_quote_it(
    sites: TwoSites, mocker: MockerFixture
) -> None:
    raised = threading.Event()

    def buggy(*_: object) -> None:
        raised.set()
        raise ZeroDivisionError("deadbeef")

    bug = mocker.patch.object(sites.devices["alice"], "reserve", side_effect=buggy)
    filler, _ = sites.fillers(low_water=4064, high_water=4064)
    for _ in range(2):
        assert raised.wait(5)
        raised.clear()
    assert filler.status().error == "[device] the source raised ZeroDivisionError"
    changed = threading.Event()
    sites.alice.watch_level("bob", changed)
    mocker.stop(bug)
    while sites.alice.level("bob") < 4064:
        assert changed.wait(5)
        changed.clear()


@pytest.mark.parametrize(
    "options",
    [{"low_water": 0}, {"low_water": 9, "high_water": 8}, {"block_size": 32}],
)
def test_a_filler_refuses_water_marks_that_make_no_sense(
    sites: TwoSites, options: dict[str, int]
) -> None:
    with pytest.raises(UsageError):
        Filler(sites.alice, "bob", sites.devices["alice"], **options)  # type: ignore[arg-type]


# -- opening, closing, crashing ----------------------------------------------------------


def test_without_contact_nothing_is_served(stores: Callable[[str], SQLiteStore]) -> None:
    with Pool(stores("alice"), site="alice") as pool:
        pool.link("bob", "tcp://127.0.0.1:0", listen=True, secret=SECRET)
        assert not pool.source.can_serve("bob", 1)
        with pytest.raises(LinkError, match="not heard"):
            pool.source.reserve("bob")
        seal = pool._links["bob"].incoming
        with pytest.raises(LinkError, match="not heard"):
            pool.source.take(KeyRef("bob", seal.seal(KeyPlace(1, 0, 32))))
        with pytest.raises(DeadlineError):
            pool.wait_ready("bob", timeout=0.05)


def test_a_clean_restart_of_both_loses_nothing(
    two_sites: Callable[..., TwoSites], stores: Callable[[str], SQLiteStore]
) -> None:
    sites = two_sites(stores)
    sites.fill(2, size=4096)
    early = [sites.alice.source.reserve("bob") for _ in range(10)]
    in_flight, keys = [one.ref for one in early], []
    for one in early:
        with one.key.exposed() as view:
            keys.append(bytes(view))
    sites.alice.close()
    sites.bob.close()
    sites.start("alice")
    sites.start("bob")
    sites.ready()
    assert _take_all(sites, in_flight) == keys
    rest = dict(_drain(sites.alice, "bob"))
    assert len(rest) == 2 * 127 - 10
    assert not {*rest.values()} & {*keys}
    assert _take_all(sites, list(rest)) == list(rest.values())


def test_an_address_in_use_does_not_cost_what_remained(
    two_sites: Callable[..., TwoSites], stores: Callable[[str], SQLiteStore]
) -> None:
    sites = two_sites(stores)
    sites.fill()
    one = sites.alice.source.reserve("bob")
    sites.bob.close()
    with Pool(stores("bob"), site="bob") as again, pytest.raises(LinkError, match="listen"):
        again.link("alice", sites.address, listen=True, secret=SECRET)
    sites.start("bob")
    sites.ready()
    assert sites.bob.source.take(one.ref).matches(one.key)


def test_what_was_offered_is_wiped_in_memory(sites: TwoSites) -> None:
    sites.bob.accept_blocks("alice", sites.devices["bob"])
    with sites.devices["alice"].reserve("bob", 100) as reservation:
        material = bytearray(sites.devices["alice"].history[reservation.ref])
    worker = sites.alice._links["bob"].worker
    worker.offer(material, reservation.ref, sites.devices["alice"].provenance, 5)
    assert not any(material)


def test_leases_outlive_a_cut_link(two_sites: Callable[..., TwoSites]) -> None:
    sites = two_sites()
    sites.fill(2, size=4096)
    first = sites.alice.source.reserve("bob")
    sites.cut()
    second = sites.alice.source.reserve("bob")
    assert sites.bob.source.take(second.ref).matches(second.key)
    sites.ready()
    third = sites.alice.source.reserve("bob")
    assert sites.bob.source.take(third.ref).matches(third.key)
    assert sites.bob.source.take(first.ref).matches(first.key)


def test_what_a_crash_of_the_owner_leaves_is_burned_and_nothing_comes_twice(
    two_sites: Callable[..., TwoSites], stores: Callable[[str], SQLiteStore]
) -> None:
    sites = two_sites(stores)
    sites.fill(4, size=4096)
    before = [sites.alice.source.reserve("bob").ref for _ in range(5)]
    old = _take_all(sites, before)
    sites.crash("alice")
    sites.start("alice")
    sites.ready()
    after = dict(_drain(sites.alice, "bob"))
    assert after
    assert len(after) < 4 * 127 - 5
    assert not {*old} & {*after.values()}
    assert _take_all(sites, list(after)) == list(after.values())


def test_what_a_crash_of_the_responder_had_opened_is_burned(
    two_sites: Callable[..., TwoSites], stores: Callable[[str], SQLiteStore]
) -> None:
    sites = two_sites(stores)
    sites.fill(4, size=4096)
    lost = [sites.alice.source.reserve("bob").ref for _ in range(5)]
    sites.bob.source.take(lost[0])
    sites.crash("bob")
    sites.start("bob")
    sites.ready()
    for ref in lost:
        with pytest.raises(KeyNotFoundError):
            sites.bob.source.take(ref)
    after = dict(_drain(sites.alice, "bob"))
    assert after
    assert _take_all(sites, list(after)) == list(after.values())


@pytest.mark.parametrize("site", ["alice", "bob"])
def test_a_restored_backup_serves_nothing_twice_and_is_reported(
    two_sites: Callable[..., TwoSites],
    stores: Callable[[str], SQLiteStore],
    tmp_path: Path,
    site: str,
) -> None:
    sites = two_sites(stores)
    sites.fill(4, size=4096)
    open_ids = [sites.alice.source.reserve("bob").ref for _ in range(5)]
    sites.alice.close()
    sites.bob.close()
    file = tmp_path / site / "keys.sqlite"
    backup = file.read_bytes()  # bob's notes that the five keys may be taken
    sites.start("alice")
    sites.start("bob")
    sites.ready()
    old = {*_take_all(sites, open_ids)}
    served = [sites.alice.source.reserve("bob").ref for _ in range(5)]
    old |= {*_take_all(sites, served)}
    sites.alice.close()
    sites.bob.close()
    file.write_bytes(backup)
    sites.start("alice")
    sites.start("bob")
    sites.ready()
    for ref in (*open_ids, *served):
        with pytest.raises(KeyNotFoundError):
            sites.bob.source.take(ref)
    again = dict(_drain(sites.alice, "bob"))
    assert again
    assert not old & {*again.values()}
    assert _take_all(sites, list(again)) == list(again.values())
    reports = [*sites.alice.status().spaces[0].events, *sites.bob.status().spaces[0].events]
    assert any("[store]" in report and "histories" in report for report in reports)


def test_a_store_that_fails_serves_nothing_more(
    two_sites: Callable[..., TwoSites], mocker: MockerFixture
) -> None:
    sites = two_sites()
    sites.fill(2, size=4096)
    sites.alice.source.reserve("bob")
    worker = sites.alice._links["bob"].worker
    mocker.patch.object(worker.core._store, "apply", side_effect=StoreError("disk full"))
    with pytest.raises(LinkError):
        list(_drain(sites.alice, "bob", 1000))
    with pytest.raises(StoreError, match="disk full"):
        sites.alice.source.reserve("bob")
    assert not sites.alice.source.can_serve("bob", 8)


def test_a_wrong_secret_never_connects(two_sites: Callable[..., TwoSites]) -> None:
    sites = two_sites()
    sites.bob.close()
    with Pool(MemoryStore(), site="bob") as stranger:
        stranger.link("alice", sites.address, listen=False, secret=bytes(32))
        with pytest.raises(DeadlineError):
            stranger.wait_ready("alice", timeout=0.3)
        assert "does not prove" in stranger.status().spaces[0].events[0]


def test_a_stranger_on_the_port_does_not_disturb_the_link(sites: TwoSites) -> None:
    host, port = sites.address.removeprefix("tcp://").split(":")
    with socket.create_connection((host, int(port))) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
        stranger.settimeout(5)
        assert stranger.recv(100) == b""
    with socket.create_connection((host, int(port))) as stranger:
        stranger.sendall(b"\xff\xff\xff\xff")
        stranger.settimeout(5)
        assert stranger.recv(100) == b""
    sites.fill()
    assert sites.alice._links["bob"].worker.connected
    sites.bob.source.take(sites.alice.source.reserve("bob").ref)


def test_a_closed_pool_refuses_and_closing_again_is_fine(sites: TwoSites) -> None:
    sites.fill()
    ref = sites.alice.source.reserve("bob").ref
    for pool in (sites.alice, sites.bob):
        pool.close()
        pool.close()
    with pytest.raises(StateError):
        sites.alice.source.reserve("bob")
    with pytest.raises(StateError):
        sites.bob.source.take(ref)
    assert not sites.alice.source.can_serve("bob", 8)


def test_a_pool_does_not_survive_fork(sites: TwoSites) -> None:
    sites.fill()
    ref = sites.alice.source.reserve("bob").ref
    child = os.fork()
    if child == 0:
        refused = 0
        for call in (
            lambda: sites.alice.source.reserve("bob"),
            lambda: sites.bob.source.take(ref),
        ):
            try:
                call()
            except KeyConsumedError:
                refused += 1
        sites.alice.close()
        os._exit(refused)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2
    sites.bob.source.take(ref)


# -- use ---------------------------------------------------------------------------------


def test_links_are_refused_that_make_no_sense() -> None:
    with Pool(MemoryStore(), site="alice") as pool:
        with pytest.raises(ConfigurationError):
            pool.link("bob", "bob.example:9100", listen=False, secret=SECRET)
        with pytest.raises(UsageError):
            pool.link("alice", "tcp://127.0.0.1:0", listen=True, secret=SECRET)
        with pytest.raises(UsageError):
            pool.link("bo b", "tcp://127.0.0.1:0", listen=True, secret=SECRET)
        address = pool.link("bob", "tcp://127.0.0.1:0", listen=True, secret=SECRET)
        with pytest.raises(UsageError):
            pool.link("bob", "tcp://127.0.0.1:0", listen=True, secret=SECRET)
        with pytest.raises(LinkError, match="cannot listen"):
            pool.link("carol", address, listen=True, secret=SECRET)
        with pytest.raises(UsageError, match="link"):
            pool.source.reserve("carol")


def test_logs_name_keys_and_never_show_them(
    sites: TwoSites, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    sites.fill()
    reservation = sites.alice.source.reserve("bob")
    key = sites.bob.source.take(reservation.ref)
    assert str(reservation.ref) in caplog.text
    worker = sites.alice._links["bob"].worker
    shown = caplog.text + repr(worker.core.leases._live) + repr(sites.alice.status())
    block = next(iter(sites.devices["alice"].history.values()))
    with key.exposed() as view:
        for secret in (bytes(view), block[32:48]):
            assert secret.hex() not in shown
            assert repr(secret)[2:-1] not in shown
