"""Two sites in one temporary folder, as two machines would have them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qkd_hal.pool import create_link_secret

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["DemoSite", "make_sites"]

_DEVICE = """\
[devices.own]
url = "{url}"
peer = "{peer}"
"""
_TEMPLATE = """\
[site]
name = "{name}"

{device}
[peers.{peer}]
link = "{link}"
listen = {listen}
link_secret_file = "link.secret"

[pools.{peer}]
url = "pool+sqlite:pool.db"
peer = "{peer}"
{source}block_size = {block_size}
low_water_keys = {low_water}
high_water_keys = {high_water}

[policy]
tls = "require_quantum"
allow_simulated = true
"""


@dataclass(frozen=True, slots=True)
class DemoSite:
    """Where a site lives, and the device at its end."""

    name: str
    folder: Path
    device_url: str

    @property
    def config(self) -> Path:
        """Its ``qkd-hal.toml``."""
        return self.folder / "qkd-hal.toml"

    @property
    def log(self) -> Path:
        """What its TLS process writes to standard error."""
        return self.folder / "tls.log"

    def configure(
        self, peer: str, link: str, *, listen: bool, block_size: int, keys: int, refill: bool = True
    ) -> None:
        """Write its configuration; *keys* of 256 bits are what its pool keeps in store.

        Without *refill* the site has no device any more.
        """
        device = _DEVICE.format(url=self.device_url, peer=peer) if refill else ""
        self.config.write_text(
            _TEMPLATE.format(
                name=self.name,
                device=device,
                source='device = "own"\n' if refill else "",
                peer=peer,
                link=link,
                listen=str(listen).lower(),
                block_size=block_size,
                low_water=max(keys // 2, 1),
                high_water=keys,
            )
        )


def make_sites(
    folder: Path, alice_url: str, bob_url: str, names: tuple[str, str] = ("alice", "bob")
) -> tuple[DemoSite, DemoSite]:
    """Give both sites a private folder and the secret of their link, as if brought by hand."""
    alice = DemoSite(names[0], folder / "alice", alice_url)
    bob = DemoSite(names[1], folder / "bob", bob_url)
    for site in (alice, bob):
        site.folder.mkdir(mode=0o700)
    create_link_secret(alice.folder / "link.secret")
    shutil.copy(alice.folder / "link.secret", bob.folder / "link.secret")
    return alice, bob
