"""Two doubles of the optical modem that share keys, with faults by chance."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

import cbor2

from qkd_hal import open_device
from qkd_hal.keys import KeyId
from qkd_hal_firmware_mocks.optical_modem import Fault, MockModem
from tests.soak.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from qkd_hal.device import QKDDevice

__all__ = ["ModemWorld"]

_RATE = 0.05  # of requests that meet a fault
_SLOW = {Fault.SILENCE, Fault.LATE, Fault.STALE_FLOOD}
_FAULTS = [fault for fault in Fault for _ in range(1 if fault in _SLOW else 5)]
_NAMES = ("alice", "bob")


@dataclass
class _Key:
    owner: str
    material: bytes
    takers: dict[str, bytes] = field(default_factory=dict)  # site → handle that fetched
    gone: set[str] = field(default_factory=set)  # sites where it is erased


class _RefusedError(Exception):
    """The modem answers with the error of this code."""


class _Store:
    """The keys of a pair of modems."""

    def __init__(self, random: Random, ledger: Ledger) -> None:
        self.keys: dict[bytes, _Key] = {}
        self.lock = threading.Lock()
        self._random = random
        self._ledger = ledger

    def make(self, owner: str, size: int) -> bytes:
        key_id, material = self._random.randbytes(16), self._random.randbytes(size)
        self._ledger.learn(KeyId.from_bytes(key_id), material)
        self.keys[key_id] = _Key(owner, material)
        return key_id


class _Modem(MockModem):
    """Keeps ``docs/modem-protocol.md`` about keys; each request meets a fault by chance."""

    def __init__(self, directory: Path, site: str, store: _Store, chance: Random) -> None:
        self.site = site
        self.rate = _RATE
        self.struck: list[str] = []
        self._store = store
        self._chance = chance
        self._handles: dict[bytes, bytes] = {}
        super().__init__(directory)

    def forget(self) -> None:
        """Let all handles die, as after ten idle minutes; what they had taken is burned."""
        with self._store.lock:
            for handle, key_id in self._handles.items():
                key = self._store.keys[key_id]
                if key.owner == self.site or key.takers.get(self.site) == handle:
                    key.gone.add(self.site)
            self._handles.clear()

    def _replies(self, raw: bytes) -> Iterable[list[bytes]]:
        if self._chance.random() < self.rate:
            fault = self._chance.choice(_FAULTS)
            self.struck.append(fault.name)
            self.faults.append(fault)
        return super()._replies(raw)

    def _answer(self, request: dict[str, Any]) -> list[bytes]:
        self.requests.clear()
        with self._store.lock:
            try:
                results = getattr(self, f"_op_{request['op']}")(request)
            except _RefusedError as refused:
                results = {"error": str(refused), "what": "no"}
        key = results.pop("key", b"")
        reply = cbor2.dumps({"n": request["n"], **results}, canonical=True)
        return [reply, *([key] if key else [])]

    def _op_hello(self, request: dict[str, Any]) -> dict[str, Any]:
        peer = _NAMES[1 - _NAMES.index(self.site)]
        return {**super()._op_hello(request), "site": self.site, "peer": peer}

    def _op_reserve(self, request: dict[str, Any]) -> dict[str, Any]:
        made = [self._store.make(self.site, request["size"]) for _ in range(request["count"])]
        return {"slots": [{"key_id": key_id, "handle": self._handle(key_id)} for key_id in made]}

    def _op_bind(self, request: dict[str, Any]) -> dict[str, Any]:
        key = self._store.keys.get(request["key_id"])
        if key is None or key.owner == self.site or self.site in key.gone | key.takers.keys():
            raise _RefusedError("key-not-found")
        return {"handle": self._handle(request["key_id"]), "size": len(key.material)}

    def _op_agree(self, request: dict[str, Any]) -> dict[str, Any]:
        self._known(request)
        return {"confirmed": True}

    def _op_fetch(self, request: dict[str, Any]) -> dict[str, Any]:
        key = self._known(request)
        if key.takers.setdefault(self.site, request["handle"]) != request["handle"]:
            raise _RefusedError("key-not-found")
        start, end = request["offset"], request["offset"] + request["size"]
        if self.site in key.gone or end > len(key.material):
            raise _RefusedError("key-consumed")
        return {"key": key.material[start:end]}

    def _op_confirm(self, request: dict[str, Any]) -> dict[str, Any]:
        key_id = self._handles.get(request["handle"])
        if key_id is not None:
            self._store.keys[key_id].gone.add(self.site)
        return {}

    def _handle(self, key_id: bytes) -> bytes:
        handle = self._chance.randbytes(16)
        self._handles[handle] = key_id
        return handle

    def _known(self, request: dict[str, Any]) -> _Key:
        if request["handle"] not in self._handles:
            raise _RefusedError("key-not-found")
        return self._store.keys[self._handles[request["handle"]]]


class ModemWorld:
    """Modems ``alice`` and ``bob``. A lost reply costs a call all its time, so times are short."""

    names = _NAMES
    pace = 0.2

    def __init__(self, seed: int, directory: Path) -> None:
        self.ledger = Ledger()
        store = self._store = _Store(Random(seed), self.ledger)
        self._modems = {}
        for site in _NAMES:
            home = directory / str(seed) / site
            home.mkdir(mode=0o700, parents=True)
            self._modems[site] = _Modem(home, site, store, Random(f"{seed} {site}"))

    def open(self, end: str, timeout: float) -> QKDDevice:
        return open_device(self._modems[end].url, timeout=timeout)

    def disturb(self, chance: Random) -> None:
        """Let a modem forget who asked it for what."""
        self._modems[chance.choice(_NAMES)].forget()

    def calm(self) -> None:
        for modem in self._modems.values():
            modem.rate = 0

    def holds(self, end: str, key_id: KeyId, below: int) -> bool:
        return end not in self._store.keys[bytes(key_id)].gone

    def faults(self) -> Sequence[str]:
        return [fault for modem in self._modems.values() for fault in modem.struck]

    def close(self) -> None:
        for modem in self._modems.values():
            modem.close()
