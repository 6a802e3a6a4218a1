"""The key store's commands: load, list, reserve, find, fetch, confirm, erase."""

from __future__ import annotations

import hmac
from dataclasses import replace
from typing import TYPE_CHECKING

from qkd_hal_firmware_mocks.token.apdu import Refusal, Status
from qkd_hal_firmware_mocks.token.names import checked_provenance
from qkd_hal_firmware_mocks.token.state import StoredKey

if TYPE_CHECKING:
    from collections.abc import Iterable

    from qkd_hal_firmware_mocks.token.apdu import Command
    from qkd_hal_firmware_mocks.token.model import Model
    from qkd_hal_firmware_mocks.token.state import Store, TokenState

__all__ = ["CLAIM", "KEY_ID", "LOAD_HEADER", "OWN", "PEER", "U32", "KeyRoom"]

OWN = 1
PEER = 2

KEY_ID = 16
CLAIM = 16
U32 = 4
LOAD_HEADER = KEY_ID + U32 + 1
ENTRY = 26

_REMEMBERED = 64  # confirms: a host repeats a lost one at once, not after 64 others


class KeyRoom:
    """The keys of one token. Every method takes a command whose lengths were checked."""

    def __init__(self, store: Store, model: Model) -> None:
        self._store = store
        self._model = model

    def load(self, command: Command) -> bytes:
        """LOAD KEY."""
        key_id, provenance, material = self._loaded(command.data)
        self._check_new(key_id, provenance, len(material))
        with self._store.change() as state:
            state.last_number += 1
            state.keys[key_id] = StoredKey(state.last_number, key_id, command.p1, material)
            state.provenance = provenance
            state.loaded = True
        return b""

    def list_keys(self, command: Command) -> bytes:
        """LIST KEYS."""
        after = int.from_bytes(command.data, "big")
        keys = self._store.state.keys.values()
        rest = [key for key in keys if key.number > after and command.p1 in (0, key.direction)]
        return b"".join(_entry(key) for key in rest[: self._model.max_response_data // ENTRY])

    def reserve(self, command: Command) -> bytes:
        """RESERVE."""
        claim, size = command.data[:CLAIM], int.from_bytes(command.data[CLAIM:], "big")
        mine = self._reserved_by(claim, size)
        if mine is not None:
            return mine.key_id
        key = next((key for key in _available(self._store.state) if key.size == size), None)
        if key is None:
            raise Refusal(Status.NONE_LEFT)
        self._claim(key, claim)
        return key.key_id

    def find(self, command: Command) -> bytes:
        """FIND."""
        return _entry(self._key(command.data)) + self._store.state.provenance

    def fetch(self, command: Command) -> bytes:
        """FETCH."""
        key = self._key(command.data[:KEY_ID], command.p1)
        claim, place = command.data[KEY_ID:][:CLAIM], command.data[KEY_ID + CLAIM :]
        start, size = int.from_bytes(place[:U32], "big"), int.from_bytes(place[U32:], "big")
        if not 0 < size <= self._model.max_response_data or start + size > key.size:
            raise Refusal(Status.WRONG_DATA)
        if not hmac.compare_digest(key.claim, claim):
            self._take_over(key, claim)
        return key.material[start : start + size]

    def confirm(self, command: Command) -> bytes:
        """CONFIRM."""
        key_id, claim = command.data[:KEY_ID], command.data[KEY_ID:]
        gone = (command.p1, key_id, claim)
        if gone in self._store.state.confirmed:
            return b""
        key = self._key(key_id, command.p1)
        if not hmac.compare_digest(key.claim, claim):
            raise Refusal(Status.NOT_ALLOWED)
        with self._store.change() as state:
            del state.keys[key_id]
            state.confirmed = (*state.confirmed, gone)[-_REMEMBERED:]
        return b""

    def erase(self, command: Command) -> bytes:
        """ERASE."""
        what = (self._erase_all, self._erase_reserved, self._erase_one)[command.p1]
        what(command.data)
        return b""

    def _loaded(self, data: bytes) -> tuple[bytes, bytes, bytes]:
        size = int.from_bytes(data[KEY_ID : KEY_ID + U32], "big")
        end = LOAD_HEADER + data[LOAD_HEADER - 1]
        material = data[end:]
        if not 0 < size <= self._model.max_key_size or len(material) != size:
            raise Refusal(Status.WRONG_DATA)
        return data[:KEY_ID], checked_provenance(data[LOAD_HEADER:end]), material

    def _check_new(self, key_id: bytes, provenance: bytes, size: int) -> None:
        state = self._store.state
        if key_id in state.keys or any(key_id == known for _, known, _ in state.confirmed):
            raise Refusal(Status.EXISTS)
        if state.provenance and provenance != state.provenance:
            raise Refusal(Status.NOT_ALLOWED)
        if not self._model.free_entries(state) or size > self._model.free_bytes(state):
            raise Refusal(Status.FULL)

    def _reserved_by(self, claim: bytes, size: int) -> StoredKey | None:
        state = self._store.state
        mine = next((key for key in state.keys.values() if key.claim == claim), None)
        if mine is None:
            if any(claim == known for _, _, known in state.confirmed):
                raise Refusal(Status.NOT_ALLOWED)
        elif mine.direction != OWN or mine.size != size:
            raise Refusal(Status.NOT_ALLOWED)
        return mine

    def _take_over(self, key: StoredKey, claim: bytes) -> None:
        if key.direction == OWN:
            raise Refusal(Status.NOT_ALLOWED)
        self._claim(key, claim)

    def _claim(self, key: StoredKey, claim: bytes) -> None:
        with self._store.change() as state:
            state.keys[key.key_id] = replace(key, claim=claim)

    def _key(self, key_id: bytes, direction: int = 0) -> StoredKey:
        key = self._store.state.keys.get(key_id)
        if key is None or direction not in (0, key.direction):
            raise Refusal(Status.NOT_FOUND)
        return key

    def _erase_all(self, _: bytes) -> None:
        with self._store.change() as state:
            state.keys.clear()
            state.provenance, state.loaded = state.given_provenance, False

    def _erase_reserved(self, _: bytes) -> None:
        with self._store.change() as state:
            for key in [key for key in state.keys.values() if key.direction == OWN and key.claim]:
                del state.keys[key.key_id]

    def _erase_one(self, key_id: bytes) -> None:
        self._key(key_id)
        with self._store.change() as state:
            del state.keys[key_id]


def _available(state: TokenState) -> Iterable[StoredKey]:
    return (key for key in state.keys.values() if key.direction == OWN and not key.claim)


def _entry(key: StoredKey) -> bytes:
    kind = bytes([key.direction, bool(key.claim)])
    return key.number.to_bytes(U32, "big") + key.key_id + kind + key.size.to_bytes(U32, "big")
