"""``qkd-hal token fill``: keys from QKD devices into tokens, in two directed halves."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from qkd_hal import schemes
from qkd_hal.cli._device import timeout_option
from qkd_hal.cli._output import json_option, print_json
from qkd_hal.cli.token._common import typed_pin, url_of
from qkd_hal.errors import ConfigurationError, DeviceError, UsageError
from qkd_hal.keys import KeyId
from qkd_hal.registry import open_device
from qkd_hal.sources import Deadline
from qkd_hal.token_fill import fill_pair, keys_from_pair, load_session
from qkd_hal.tokens import open_loader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager

    from qkd_hal.device import QKDDevice, QKDSession
    from qkd_hal.tokens import OpenLoader

__all__ = ["fill"]

T = TypeVar("T")

_COUNTED_BYTES = 32  # what KeyLoader.free counts
_MAX_IDS = 1 << 20  # a list of key IDs is no longer than any token's store
_ID_LINE = 37  # characters
_FILE = click.Path(path_type=Path, dir_okay=False)


@dataclass(frozen=True, slots=True)
class Order:
    """What to fill: *tokens* and *sources* are one URL or two, at this site or at both."""

    tokens: tuple[str, ...]
    sources: tuple[str, ...]
    sites: tuple[str, ...]
    keys: int
    size: int
    timeout: float


@click.command()
@click.argument("token_urls", metavar="TOKEN [PEER_TOKEN]", nargs=-1, required=True)
@click.option("--from", "source", required=True, metavar="URL", help="The QKD device.")
@click.option("--from-peer", metavar="URL", help="The QKD device at its other end.")
@click.option("--keys", type=click.IntRange(min=1), default=100, show_default=True)
@click.option("--size", type=click.IntRange(min=1), default=32, show_default=True, help="Bytes.")
@click.option("--ids-out", type=_FILE, help="New file for key IDs: fill one token, as the first.")
@click.option("--ids-in", type=_FILE, help="That file: fill one token, as the second.")
@click.option("--site", default="", help="Whose TOKEN is, if it does not say (PKCS#11).")
@click.option(
    "--peer", default="", help="Whose PEER_TOKEN is; with one token, what it calls the other site."
)
@timeout_option
@json_option
def fill(
    token_urls: tuple[str, ...],
    source: str,
    from_peer: str | None,
    keys: int,
    size: int,
    ids_out: Path | None,
    ids_in: Path | None,
    site: str,
    peer: str,
    timeout: float,
    as_json: bool,
) -> None:
    """Load keys from QKD devices into tokens, for sessions where no device is.

    With two tokens and both ends of a link at hand: TOKEN starts sessions with one half of
    the keys, PEER_TOKEN with the other.

    With one token at each site: the first site fills with --ids-out and sends the file, which
    is no secret, to the second, which fills with --ids-in and then starts sessions with these
    keys. The same the other way round gives the first site keys of its own. A key that a fill
    leaves on one token only is one that nobody starts a session with.
    """
    sources = (source, *([from_peer] if from_peer else []))
    order = Order(tuple(map(url_of, token_urls)), sources, (site, peer), keys, size, timeout)
    one = ids_out or ids_in
    loaded = _fill_one(order, ids_out, ids_in) if one else _fill_two(order)
    if as_json:
        print_json({"keys": loaded, "size": size})
    else:
        click.echo(f"Loaded {loaded} keys.")


def _fill_two(order: Order) -> int:
    if len(order.tokens) != 2 or len(order.sources) != 2:
        raise UsageError(
            "to fill two tokens takes two, and both ends of a link",
            cure="Give TOKEN PEER_TOKEN --from URL --from-peer URL, or one TOKEN and --ids-out",
        )
    with ExitStack() as stack:
        one, other = (_loader(stack, order, end) for end in (0, 1))
        first, second = (_device(stack, order, end) for end in (0, 1))
        keys = keys_from_pair(first, second, order.keys, size=order.size)
        shown = _with_progress(keys, order.keys)
        return fill_pair(shown, one, other, Deadline(order.timeout * order.keys))


def _fill_one(order: Order, ids_out: Path | None, ids_in: Path | None) -> int:
    if len(order.tokens) != 1 or len(order.sources) != 1 or bool(ids_out) == bool(ids_in):
        raise UsageError(
            "to fill one token takes one, one device and one list of key IDs",
            cure="Give TOKEN --from URL with --ids-out FILE or --ids-in FILE",
        )
    with ExitStack() as stack:
        if ids_out is not None:
            return _lead(stack, order, stack.enter_context(_new_list(ids_out)))
        return _follow(stack, order, _read_ids(ids_in)) if ids_in else 0


def _lead(stack: ExitStack, order: Order, write: Callable[[KeyId], None]) -> int:
    """Load keys as the peer's half, and then say which."""
    loader, device = _loader(stack, order, 0), _device(stack, order, 0)
    for _ in _with_progress(range(order.keys), order.keys):
        with device.start(size=order.size) as session:
            session.connect()
            write(_loaded(session, loader, order, own=False))
    return order.keys


def _follow(stack: ExitStack, order: Order, ids: list[KeyId]) -> int:
    """Load the keys that the first site named as this site's own half."""
    loader, device = _loader(stack, order, 0, len(ids)), _device(stack, order, 0)
    for key_id in _with_progress(ids, len(ids)):
        with device.start(key_id=key_id) as session:
            session.connect()
            _loaded(session, loader, order, own=True)
    return len(ids)


def _loaded(session: QKDSession, loader: OpenLoader, order: Order, *, own: bool) -> KeyId:
    deadline, peer = Deadline(order.timeout), order.sites[1] or None
    return load_session(session, loader, deadline, own=own, peer=peer)


def _loader(stack: ExitStack, order: Order, end: int, keys: int | None = None) -> OpenLoader:
    """Open a token, and see that all keys fit before one is taken from a device."""
    url = order.tokens[end]
    pin = typed_pin(url, group=schemes.KEY_LOADERS)
    deadline = Deadline(order.timeout)  # a person may take longer to type
    loader = open_loader(url, order.sites[end], deadline, pin=pin)
    stack.enter_context(closing(loader))
    free = loader.free(deadline)
    wanted = (keys or order.keys) * -(-order.size // _COUNTED_BYTES)
    if free is not None and free < wanted:
        what = f"the token has room for {free} keys of {_COUNTED_BYTES} bytes, not for {wanted}"
        cure = "Load fewer, or erase what nobody needs"
        raise DeviceError(what, device=url.partition("?")[0], cure=cure)
    return loader


def _device(stack: ExitStack, order: Order, end: int) -> QKDDevice:
    return stack.enter_context(open_device(order.sources[end], timeout=order.timeout))


def _with_progress(items: Iterable[T], length: int) -> Iterator[T]:
    """Yield *items* with a bar on standard error, where a person watches."""
    bar: AbstractContextManager[Iterable[T]] = click.progressbar(
        items, length=length, label="Loading keys", file=sys.stderr
    )
    with bar as shown:
        yield from shown


@contextmanager
def _new_list(path: Path) -> Iterator[Callable[[KeyId], None]]:
    """Make a list of key IDs, each on disk before the next key is taken."""
    try:
        file = path.open("x", encoding="ascii")
    except OSError as error:
        what = f"cannot create {path}: {error.strerror}"
        raise ConfigurationError(what, cure="Name a new file after --ids-out") from None

    def write(key_id: KeyId) -> None:
        file.write(f"{key_id}\n")
        file.flush()
        os.fsync(file.fileno())

    with file:
        yield write


def _read_ids(path: Path) -> list[KeyId]:
    cure = "Take the file of --ids-out"
    try:
        with path.open(encoding="ascii") as file:
            lines = file.read(_MAX_IDS * _ID_LINE + 1).split()
        ids = [KeyId.parse(line) for line in lines]
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}", cure=cure) from None
    except ValueError:  # also UsageError and UnicodeDecodeError
        ids = []
    if not ids or len(ids) > _MAX_IDS or len(set(ids)) < len(ids):
        raise ConfigurationError(f"{path} is no list of key IDs", cure=cure)
    return ids
