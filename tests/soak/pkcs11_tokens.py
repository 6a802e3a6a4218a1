"""Two filled PKCS#11 tokens whose module fails by chance, and whose keys others take."""

from __future__ import annotations

from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pkcs11
from pkcs11 import Attribute

from qkd_hal.device import QKDDevice
from qkd_hal.device_url import DeviceURL
from qkd_hal.keys import KeyId, Origin, Provenance
from qkd_hal_drivers.pkcs11_token import _connection
from qkd_hal_drivers.pkcs11_token._label import KeyLabel
from qkd_hal_drivers.pkcs11_token._library import Module
from qkd_hal_drivers.pkcs11_token.driver import Pkcs11TokenDriver
from tests.drivers.pkcs11_token.memory_token import MemoryToken
from tests.soak.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest

__all__ = ["Pkcs11World"]

_RATE = 0.02  # of calls into a module that fail
_OWN, _PEERS = 30, 60  # keys in one token
_MADE = Provenance(Origin.HARDWARE)


class _Token(MemoryToken):
    """Remembers which faults struck."""

    def __init__(self, site: str, random: Random, chance: float) -> None:
        super().__init__(site, random, chance)
        self.struck: list[str] = []

    def fail(self) -> None:
        try:
            super().fail()
        except pkcs11.PKCS11Error as fault:
            self.struck.append(type(fault).__name__)
            raise


class Pkcs11World:
    """Tokens ``alice`` and ``bob``. *inside*: their keys stay there."""

    names = ("alice", "bob")
    pace = 1.0

    def __init__(self, seed: int, patch: pytest.MonkeyPatch, *, inside: bool) -> None:
        self.ledger = Ledger()
        self._random = Random(seed)
        self._inside = inside
        self._tokens = {site: _Token(site, self._random, _RATE) for site in self.names}
        self._modules = {
            _uri(site): (Module(Path(f"/{site}.so"), cast("Any", _LIBRARY)), token)
            for site, token in self._tokens.items()
        }
        patch.setattr(_connection, "find_token", lambda uri, _: self._modules[uri.text])
        self._fill()

    def open(self, end: str, timeout: float) -> QKDDevice:
        driver = Pkcs11TokenDriver(DeviceURL.parse(_uri(end)))
        return QKDDevice(driver, name=_uri(end), timeout=timeout)

    def disturb(self, chance: Random) -> None:
        """Let another process take a key, or pull the token; then fill both up."""
        self._fill()
        site = chance.choice(self.names)
        if chance.random() < 0.5:
            self._tokens[site].live = 0
        else:
            taken = chance.choice(self._kept(site, own=chance.random() < 0.5))
            del self._tokens[site].objects[taken]

    def calm(self) -> None:
        for token in self._tokens.values():
            token.chance = 0
        self._fill()

    def holds(self, end: str, key_id: KeyId, below: int) -> bool:
        objects = self._tokens[end].objects.values()
        return any(key[Attribute.ID] == bytes(key_id) for key in objects)

    def faults(self) -> Sequence[str]:
        return [fault for token in self._tokens.values() for fault in token.struck]

    def close(self) -> None:
        """Tokens in memory go with the world."""

    def _fill(self) -> None:
        for owner in self.names:
            for _ in range(_OWN - len(self._kept(owner, own=True))):
                self._load(owner)
            for handle in self._kept(owner, own=False)[:-_PEERS]:  # nobody came for them
                del self._tokens[owner].objects[handle]

    def _kept(self, site: str, *, own: bool) -> list[int]:
        """Return the handles of the keys that outlast a session, the oldest first."""
        objects = self._tokens[site].objects.items()
        kept = [(handle, key) for handle, key in objects if key[Attribute.TOKEN]]
        return [n for n, key in kept if KeyLabel.parse(key[Attribute.LABEL]).own is own]

    def _load(self, owner: str) -> None:
        key_id, value = KeyId.from_bytes(self._random.randbytes(16)), self._random.randbytes(32)
        self.ledger.learn(key_id, value)
        first, second = self.names
        for site, token in self._tokens.items():
            peer = second if site == first else first
            label = KeyLabel(own=site == owner, site=site, peer=peer, provenance=_MADE)
            token.add(key_id, label, value, inside=self._inside)


_LIBRARY = SimpleNamespace(initialized=True)


def _uri(site: str) -> str:
    return f"pkcs11:token={site}"
