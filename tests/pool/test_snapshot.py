"""A machine resumed from a snapshot of its memory: what both ends did since counts."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import pytest

from qkd_hal.pool import SQLiteStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from qkd_hal.pool import Pool
    from qkd_hal.pool.leases import Leases
    from tests.pool.conftest import TwoSites


@pytest.fixture
def sites(two_sites: Callable[..., TwoSites], tmp_path: Path) -> TwoSites:
    """Two sites whose stores outlive a restart, with one block of 127 keys."""
    sites = two_sites(lambda site: SQLiteStore(tmp_path / f"{site}.sqlite"))
    sites.fill(1)
    return sites


def _reserved(pool: Pool, count: int) -> list[bytes]:
    keys = []
    for _ in range(count):
        with pool.source.reserve("bob") as reservation, reservation.key.exposed() as view:
            keys.append(bytes(view))
    return keys


def _resume(leases: Leases, snapshot: dict[str, object]) -> None:
    for name, value in snapshot.items():
        setattr(leases, name, value)


def test_what_a_resumed_owner_believes_unserved_is_not_given_back(sites: TwoSites) -> None:
    worker = sites.alice._links["bob"].worker
    keys = _reserved(sites.alice, 2)
    sites.flush()
    leases = worker.core.leases
    snapshot = {n: copy.deepcopy(v) for n, v in vars(leases).items() if n != "_lock"}
    keys += _reserved(sites.alice, 5)
    worker._post(worker.core.report)
    sites.flush()
    _resume(leases, snapshot)
    sites.cut()
    sites.ready()
    sites.flush()  # contact comes a moment before what it brought to light
    assert any("[store]" in event for event in worker.events)
    sites.alice.close()
    sites.start("alice")
    sites.ready()
    assert not {*keys} & {*_reserved(sites.alice, 10)}


def test_a_clean_close_gives_leases_back_also_after_a_cut(sites: TwoSites) -> None:
    _reserved(sites.alice, 1)
    sites.cut()
    sites.ready()
    sites.alice.close()
    sites.start("alice")
    sites.ready()
    assert len(_reserved(sites.alice, 126)) == 126
