"""``qkd-hal pool``."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from qkd_hal.errors import ConfigurationError
from qkd_hal.keys import Origin, Provenance
from qkd_hal.link import BlockRecord, BlockState, Space, SpaceRecord
from qkd_hal.link.effects import Change, PutBlock, PutSpace
from qkd_hal.pool import SQLiteStore, load_link_secret
from qkd_hal.pool._cli import pool

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SIMULATED = Provenance(Origin.SIMULATED)


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    blocks = (
        BlockRecord(1, 1056, SIMULATED, BlockState.ACTIVE, mark=24),
        BlockRecord(2, 1056, SIMULATED, BlockState.PENDING),
    )
    changes: list[Change] = [PutBlock(block, bytearray(1056)) for block in blocks]
    changes.append(PutSpace(SpaceRecord(2)))
    path = tmp_path / "keys.sqlite"
    with contextlib.closing(SQLiteStore(path)) as store:  # held by a writer all the while
        store.apply(Space("alice", "bob"), changes)
        yield f"pool+sqlite://{path}"


def test_status_counts_as_json(url: str) -> None:
    result = CliRunner().invoke(pool, ["status", url, "--json"], catch_exceptions=False)
    (space,) = json.loads(result.output)["spaces"]
    assert space == {
        "space": "alice>bob",
        "blocks": 2,
        "pending": 1,
        "unleased": 1000,
        "consumed": 24,
        "provenance": ["simulated"],
    }


def test_status_prints_a_table(url: str) -> None:
    result = CliRunner().invoke(pool, ["status", url], catch_exceptions=False)
    assert result.exit_code == 0
    for word in ("alice>bob", "1000", "24", "simulated"):
        assert word in result.output


def test_status_of_nothing_is_an_error_and_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        CliRunner().invoke(
            pool, ["status", f"pool+sqlite://{tmp_path}/none"], catch_exceptions=False
        )
    assert [*tmp_path.iterdir()] == []


def test_secret_writes_a_secret_and_does_not_show_it(tmp_path: Path) -> None:
    path = tmp_path / "link.secret"
    result = CliRunner().invoke(pool, ["secret", str(path)], catch_exceptions=False)
    assert result.exit_code == 0
    assert load_link_secret(path).hex() not in result.output
