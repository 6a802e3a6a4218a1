"""One site from its ``qkd-hal.toml``: the only place where device, pool, link and TLS meet."""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from qkd_hal.cli.reopening import ReopeningSource
from qkd_hal.config import load_configuration
from qkd_hal.errors import ConfigurationError, KeysExhaustedError
from qkd_hal.pool import Filler, Pool, load_link_secret, open_store
from qkd_hal.pool.filler import BLOCK_SIZE
from qkd_hal.registry import open_device

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from qkd_hal.config import Configuration, PoolEntry
    from qkd_hal.tls import Policy, QKDContext

__all__ = ["OpenPool", "Site", "open_site"]

_KEY_BYTES = 32  # the water marks of qkd-hal.toml count keys of 256 bits
_LOW_WATER, _HIGH_WATER = 8192, 32_768  # such keys, where the file is silent
_POLL = 0.02  # seconds between two looks at a pool that fills


@dataclass(frozen=True, slots=True)
class OpenPool:
    """A running pool; ``link`` is the address of its link, with the real port."""

    entry: PoolEntry
    pool: Pool
    link: str

    def wait_for_keys(self, count: int, timeout: float) -> None:
        """Wait until *count* keys of 256 bits can probably be reserved.

        Raises:
            KeysExhaustedError: they cannot, after *timeout* seconds.
        """
        bits = count * _KEY_BYTES * 8
        until = time.monotonic() + timeout
        while not self.pool.source.can_serve(self.entry.peer, bits):
            if time.monotonic() >= until:
                raise KeysExhaustedError(
                    f"the pool {self.entry.name} does not hold {count} keys for {self.entry.peer}",
                    cure="Run: qkd-hal doctor, to see whether device and link are up",
                )
            time.sleep(_POLL)


@dataclass(frozen=True, slots=True)
class Site:
    """What runs at this end until :func:`open_site` ends."""

    configuration: Configuration
    pools: dict[str, OpenPool] = field(default_factory=dict)

    def pool(self, name: str | None = None) -> OpenPool:
        """Return the pool *name*, or the only one."""
        return self.pools[_chosen(self.configuration, name)]

    def tls_context(self, pool_name: str | None = None) -> QKDContext:
        """Return a TLS context on a pool, under the configured policy."""
        from qkd_hal.tls import QKDContext  # needs the extra tls

        chosen = self.pool(pool_name)
        policy = _policy(self.configuration)
        return QKDContext(chosen.pool.source, peer=chosen.entry.peer, policy=policy)


def _policy(configuration: Configuration) -> Policy:
    from qkd_hal.tls import Mode, Policy

    wanted = configuration.policy
    if wanted.tls not in {mode.value for mode in Mode}:
        raise ConfigurationError(
            f"the policy {wanted.tls} is not in this release", cure='Use tls = "require_quantum"'
        )
    return Policy(Mode(wanted.tls), allow_simulated=wanted.allow_simulated)


@contextmanager
def open_site(path: Path | None = None, pool_name: str | None = None) -> Iterator[Site]:
    """Open what ``qkd-hal.toml`` describes: the pool *pool_name*, by default all of them.

    Devices and links come up in the background, so that a site serves from its stores while
    a device is off. Everything is closed in order when the block ends.

    Raises:
        ConfigurationError: the file is missing or wrong.
        StoreError: another process has the pool's store open.
    """
    configuration = load_configuration(path)
    names = configuration.pools if pool_name is None else [_chosen(configuration, pool_name)]
    with ExitStack() as stack:
        site = Site(configuration)
        for name in names:
            site.pools[name] = _open_pool(stack, configuration, name)
        yield site


def _open_pool(stack: ExitStack, configuration: Configuration, name: str) -> OpenPool:
    site, entry = _site_name(configuration), configuration.pool(name)
    peer = configuration.peer(entry.peer)
    secret = load_link_secret(peer.link_secret_file)
    device = open_device(entry.device, config=configuration) if entry.device else None
    source = None if device is None else ReopeningSource(device)
    pool = stack.enter_context(Pool(open_store(entry.url), site=site))
    # With its source from the start: an offer that finds none costs the peer a block.
    link = pool.link(peer.name, peer.link, listen=peer.listen, secret=secret, source=source)
    if device is not None and source is not None:
        stack.enter_context(_filler(entry, pool, source))
        stack.callback(device.close)  # first of all: it wakes a filler that waits for the device
    return OpenPool(entry, pool, link)


def _filler(entry: PoolEntry, pool: Pool, source: ReopeningSource) -> Filler:
    return Filler(
        pool,
        entry.peer,
        source,
        low_water=_KEY_BYTES * (entry.low_water_keys or _LOW_WATER),
        high_water=_KEY_BYTES * (entry.high_water_keys or _HIGH_WATER),
        block_size=entry.block_size or BLOCK_SIZE,
    )


def _site_name(configuration: Configuration) -> str:
    if configuration.site is None:
        raise ConfigurationError(
            f"{configuration.path} does not say whose it is", cure='Add [site] name = "…"'
        )
    return configuration.site


def _chosen(configuration: Configuration, name: str | None) -> str:
    if name is not None:
        return configuration.pool(name).name
    if len(configuration.pools) != 1:
        known = ", ".join(configuration.pools) or "none"
        raise ConfigurationError(
            f"{configuration.path} has not one pool, but {known}", cure="Choose one with --pool"
        )
    return next(iter(configuration.pools))
