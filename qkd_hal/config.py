"""``qkd-hal.toml``: named devices, peers, pools and policy, so that programs carry names.

Strict: an unknown key is an error that suggests the nearest one, a secret in the file is
refused, relative paths start at the file's directory.
"""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeVar

from qkd_hal._toml import Section, nearest
from qkd_hal.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "Configuration",
    "DeviceEntry",
    "PeerEntry",
    "PolicyEntry",
    "PoolEntry",
    "configuration_paths",
    "example_configuration",
    "load_configuration",
    "parse_configuration",
]

FILE_NAME = "qkd-hal.toml"
POLICIES = ("require_quantum", "prefer_quantum", "post_quantum", "classical")
POOL_SCHEMES = ("pool+sqlite:", "pool+memory:")
_MAX_FILE = 1 << 20  # bytes: a thousand devices fit; anything larger is not a configuration

E = TypeVar("E")


@dataclass(frozen=True, slots=True)
class DeviceEntry:
    """``[devices.NAME]``: how to open a device; ``timeout`` in seconds."""

    name: str
    url: str
    peer: str | None = None
    timeout: float = 10.0


@dataclass(frozen=True, slots=True)
class PeerEntry:
    """``[peers.NAME]``: the link to another site. ``listen``: this end waits for the other,
    on any free port where the link names port 0."""

    name: str
    link: str
    link_secret_file: Path
    listen: bool = False


@dataclass(frozen=True, slots=True)
class PoolEntry:
    """``[pools.NAME]``: a key pool shared with ``peer`` and filled from ``device``.

    Water marks in keys of 256 bits, ``block_size`` in bytes; ``None`` is the pool's default.
    """

    name: str
    url: str
    peer: str
    device: str | None = None
    low_water_keys: int | None = None
    high_water_keys: int | None = None
    block_size: int | None = None


@dataclass(frozen=True, slots=True)
class PolicyEntry:
    """``[policy]``: what must protect a TLS connection, one of :data:`POLICIES`."""

    tls: str = "require_quantum"
    allow_simulated: bool = False


@dataclass(frozen=True, slots=True)
class Configuration:
    """One ``qkd-hal.toml``, checked. ``site`` is this site's name."""

    path: Path | None = None
    site: str | None = None
    devices: Mapping[str, DeviceEntry] = field(default_factory=dict)
    peers: Mapping[str, PeerEntry] = field(default_factory=dict)
    pools: Mapping[str, PoolEntry] = field(default_factory=dict)
    policy: PolicyEntry = field(default_factory=PolicyEntry)

    def device(self, name: str) -> DeviceEntry:
        """Return ``[devices.NAME]``."""
        return self._entry("devices", self.devices, name)

    def peer(self, name: str) -> PeerEntry:
        """Return ``[peers.NAME]``."""
        return self._entry("peers", self.peers, name)

    def pool(self, name: str) -> PoolEntry:
        """Return ``[pools.NAME]``."""
        return self._entry("pools", self.pools, name)

    def _entry(self, table: str, entries: Mapping[str, E], name: str) -> E:
        if name not in entries:
            what = f"no [{table}.{name}] in {self.path or 'the configuration'}"
            cure = nearest(name, entries) or f"Add [{table}.{name}]"
            raise ConfigurationError(what, cure=cure)
        return entries[name]


def load_configuration(path: str | os.PathLike[str] | None = None) -> Configuration:
    """Read *path*, else the first file of :func:`configuration_paths` that exists.

    Raises:
        ConfigurationError: there is no such file, or something in it is wrong.
    """
    found = _explicit(path) or next((p for p in configuration_paths() if p.is_file()), None)
    if found is None:
        searched = ", ".join(str(p) for p in configuration_paths())
        raise ConfigurationError(
            f"no {FILE_NAME}; looked at {searched}",
            cure="Write one; `qkd-hal doctor --example` prints an example",
        )
    return parse_configuration(_read(found), found)


def configuration_paths() -> list[Path]:
    """Return where ``qkd-hal.toml`` is looked for, in order."""
    home = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return [Path(FILE_NAME), Path(home) / "qkd-hal" / FILE_NAME, Path("/etc/qkd-hal") / FILE_NAME]


def parse_configuration(text: str, path: Path) -> Configuration:
    """Read the text of a configuration file that stands, or will stand, at *path*."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path} is not TOML: {error}") from None
    top = Section(path.name, raw, path.resolve().parent)
    site = top.section("site", "name")
    policy = top.section("policy", "tls", "allow_simulated")
    configuration = Configuration(
        path=path,
        site=site.name("name", None),
        devices=_entries(top, "devices", _device, "url", "peer", "timeout"),
        peers=_entries(top, "peers", _peer, "link", "listen", "link_secret_file"),
        pools=_entries(top, "pools", _pool, *PoolEntry.__slots__[1:]),
        policy=PolicyEntry(
            policy.choice("tls", POLICIES, "require_quantum"),
            policy.boolean("allow_simulated", default=False),
        ),
    )
    top.allow("site", "devices", "peers", "pools", "policy")
    _check_references(configuration)
    return configuration


def example_configuration() -> str:
    """Return the text of a small, complete ``qkd-hal.toml``."""
    return _EXAMPLE


def _explicit(path: str | os.PathLike[str] | None) -> Path | None:
    named = path or os.environ.get("QKD_HAL_CONFIG")
    return Path(named) if named else None


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_FILE + 1)
        text = raw.decode()
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path} is not UTF-8") from None
    if len(raw) > _MAX_FILE:
        raise ConfigurationError(f"{path} is larger than {_MAX_FILE} bytes")
    return text


def _entries(
    top: Section, table: str, build: Callable[[str, Section], E], *allowed: str
) -> Mapping[str, E]:
    sections = top.named_sections(table, *allowed)
    return MappingProxyType({name: build(name, section) for name, section in sections.items()})


def _device(name: str, section: Section) -> DeviceEntry:
    return DeviceEntry(
        name,
        url=section.url("url"),
        peer=section.name("peer", None),
        timeout=section.seconds("timeout", 10.0),
    )


def _peer(name: str, section: Section) -> PeerEntry:
    listen = section.boolean("listen", default=False)
    return PeerEntry(
        name,
        link=section.endpoint("link", any_port=listen),
        link_secret_file=section.path("link_secret_file"),
        listen=listen,
    )


def _pool(name: str, section: Section) -> PoolEntry:
    entry = PoolEntry(
        name,
        url=section.url("url", *POOL_SCHEMES),
        peer=section.required_name("peer"),
        device=section.name("device", None),
        low_water_keys=section.count("low_water_keys"),
        high_water_keys=section.count("high_water_keys"),
        block_size=section.count("block_size"),
    )
    low, high = entry.low_water_keys, entry.high_water_keys
    if low is not None and high is not None and low >= high:
        raise section.wrong("low_water_keys", f"must be less than high_water_keys, {high}")
    return entry


def _check_references(configuration: Configuration) -> None:
    for pool in configuration.pools.values():
        configuration.peer(pool.peer)
        if pool.device is not None:
            configuration.device(pool.device)


_EXAMPLE = """\
# qkd-hal.toml of the site "alice". Relative paths start at this file's directory.
[site]
name = "alice"

[devices.lab]
url = "bb84+tcp://127.0.0.1:7101?credential=modem/client.curve"
peer = "bob"
timeout = 10.0                       # seconds

[peers.bob]
link = "tcp://192.0.2.7:7200"
listen = false                       # true at the site that waits for the other
link_secret_file = "bob.link"        # mode 0600; no secret stands in this file

[pools.main]
url = "pool+sqlite:pool/main.db"     # in a folder that nobody else may enter
peer = "bob"
device = "lab"
low_water_keys = 1000                # keys of 256 bits
high_water_keys = 4000

[policy]
tls = "require_quantum"              # the only one that this release knows
allow_simulated = false              # true only where keys protect nothing
"""
