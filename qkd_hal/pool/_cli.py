"""``qkd-hal pool``: look at a key store without disturbing the process that holds it."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table

from qkd_hal.link import BlockState
from qkd_hal.pool.secrets import create_link_secret
from qkd_hal.pool.urls import open_store

if TYPE_CHECKING:
    from collections.abc import Iterable

    from qkd_hal.link import BlockRecord, Space
    from qkd_hal.pool.store import PoolStore

__all__ = ["pool"]


@dataclass(frozen=True, slots=True)
class StoredSpace:
    """What a store holds of one directed space; sizes in bytes."""

    space: str
    blocks: int
    pending: int
    unleased: int
    consumed: int
    provenance: tuple[str, ...]


@click.group()
def pool() -> None:
    """Look at key pools, and make the secret of a link."""


@pool.command()
@click.argument("url")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def status(url: str, as_json: bool) -> None:
    """Show what the store at URL holds (pool+sqlite:///path)."""
    with contextlib.closing(open_store(url, read_only=True)) as store:
        spaces = stored_spaces(store)
    if as_json:
        click.echo(json.dumps({"url": url, "spaces": [asdict(space) for space in spaces]}))
    else:
        Console().print(_table(spaces))


@pool.command()
@click.argument("path", type=click.Path(dir_okay=False))
def secret(path: str) -> None:
    """Write a fresh link secret to PATH, for both ends of a link. Never overwrites."""
    create_link_secret(path)
    click.echo(f"wrote {path}; copy it to the other site by a way that nobody else sees")


def stored_spaces(store: PoolStore) -> list[StoredSpace]:
    """Count what *store* holds, per space."""
    return [_stored_space(space, store.load(space)[1]) for space in store.spaces()]


def _stored_space(space: Space, blocks: Iterable[BlockRecord]) -> StoredSpace:
    blocks = list(blocks)
    return StoredSpace(
        space=str(space),
        blocks=len(blocks),
        pending=sum(block.state is BlockState.PENDING for block in blocks),
        unleased=sum(block.room for block in blocks),
        consumed=sum(block.mark for block in blocks),
        provenance=tuple(sorted({str(block.provenance) for block in blocks})),
    )


def _table(spaces: Iterable[StoredSpace]) -> Table:
    table = Table("space", "blocks", "pending", "unleased bytes", "consumed bytes", "provenance")
    for one in spaces:
        counts = (one.blocks, one.pending, one.unleased, one.consumed)
        table.add_row(one.space, *map(str, counts), ", ".join(one.provenance))
    return table
