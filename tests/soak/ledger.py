"""What each key is, by the mocks' own word, and what each end was given of it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, NamedTuple

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qkd_hal.keys import KeyId

__all__ = ["Ledger"]


_TELLING = 8  # bytes that are in a key by chance at one place only


class _Place(NamedTuple):
    end: str
    key_id: KeyId


class Ledger:
    """Judges every byte that leaves a device: right, in order, and once at each end."""

    def __init__(self) -> None:
        self._truth: dict[KeyId, bytearray] = {}
        self._given: dict[_Place, int] = {}
        self._early: dict[_Place, dict[int, int]] = {}
        self._labels: dict[_Place, set[bytes]] = {}
        self._lock = threading.Lock()

    def learn(self, key_id: KeyId, material: bytes) -> None:
        """Note a new key, or more bytes of a stream."""
        with self._lock:
            self._truth.setdefault(key_id, bytearray()).extend(material)

    def give(self, end: str, key_id: KeyId, piece: bytes) -> None:
        """Judge the next bytes of a key; pieces of calls that overlap come in any order."""
        place = _Place(end, key_id)
        with self._lock:
            assert place not in self._labels, f"{end} was given a key it derived from: {key_id}"
            truth, start = self._truth[key_id], self._given.get(place, 0)
            if not truth.startswith(piece, start):
                start = truth.find(piece, start) if len(piece) >= _TELLING else -1
                assert start >= 0, self._fault(place, piece)
            early = self._early.setdefault(place, {})
            early[start] = start + len(piece)
            while (reached := early.pop(self._given.get(place, 0), None)) is not None:
                self._given[place] = reached
            if not early:
                del self._early[place]

    def derive(self, end: str, key_id: KeyId, label: bytes, derived: bytes) -> None:
        """Judge what was derived from a whole key under *label*."""
        place = _Place(end, key_id)
        with self._lock:
            assert place not in self._given, f"{end} derived from a key it was given: {key_id}"
            labels = self._labels.setdefault(place, set())
            assert label not in labels, f"{end} was given {label!r} of {key_id} twice"
            labels.add(label)
            key = bytes(self._truth[key_id])
        right = HKDFExpand(SHA256(), length=len(derived), info=label).derive(key)
        assert derived == right, f"{end} derived something else from {key_id}"

    def check_order(self) -> None:
        """Assert that nothing was left out; to be called while no call runs."""
        assert not self._early, f"bytes were skipped: {self._early}"

    def check_erased(self, holds: Callable[[str, KeyId, int], bool]) -> None:
        """Assert that no device *holds* the bytes, below a place in a key, that it gave."""
        left = [place for place, end in self._given.items() if holds(*place, end)]
        assert not left, f"bytes that were given are still at the device: {left[:3]}"

    def samples(self) -> Iterator[bytes]:
        """Give eight bytes here and there of every key, to be looked for where none may be."""
        for truth in self._truth.values():
            for at in range(0, min(len(truth), 64) - 7, 8):
                yield bytes(truth[at : at + 8])

    def _fault(self, place: _Place, piece: bytes) -> str:
        done = self._given.get(place, 0)
        again = piece in self._truth[place.key_id][:done]
        kind = "bytes it had before" if again else "wrong bytes"
        return f"{place.end} was given {kind}: {len(piece)} of {place.key_id} after {done}"
