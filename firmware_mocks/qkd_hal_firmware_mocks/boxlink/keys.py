"""The keys of one box, and its agreement with the box of the peer.

A box starts keys from its own direction only, and gives one out only once the other box has
durably stored it. Its own copy belongs to the session and is volatile: a key whose ID may have
left is erased with the session, so that a restart has nothing to hand out again. The other
box keeps its copy until its host confirms.
"""

from __future__ import annotations

import hmac
from collections import deque
from typing import TYPE_CHECKING

from qkd_hal_firmware_mocks.boxlink.key_memory import HeldKey
from qkd_hal_firmware_mocks.boxlink.refusals import BoxError, Code

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qkd_hal_firmware_mocks.boxlink.key_memory import KeyMemory
    from qkd_hal_firmware_mocks.boxlink.supply import KeySupply

__all__ = ["BoxKeys"]

_OWN_ROOM = 4096  # keys reserved and not confirmed; a host that takes more never confirms
_REMEMBERED = 4096  # used-up key IDs, to tell "used" from "never heard of"


class _UsedUp:
    """The latest key IDs that were confirmed to their end."""

    def __init__(self) -> None:
        self._order: deque[bytes] = deque()
        self._ids: set[bytes] = set()

    def add(self, key_id: bytes) -> None:
        self._order.append(key_id)
        self._ids.add(key_id)
        if len(self._order) > _REMEMBERED:
            self._ids.discard(self._order.popleft())

    def __contains__(self, key_id: bytes) -> bool:
        return key_id in self._ids


class BoxKeys:
    """Keys of one end. *memory* holds what the peer's box started, *supply* what this one may.

    *max_key*: the longest key, and how far a stream may be read ahead of its mark.
    """

    def __init__(self, memory: KeyMemory, supply: KeySupply, *, max_key: int) -> None:
        self.supply = supply
        self.link_up = True
        self._memory = memory
        self._max_key = max_key
        self._own: dict[bytes, HeldKey] = {}
        self._used_up = _UsedUp()
        self._other = self

    def pair_with(self, other: BoxKeys) -> None:
        """Name the peer's box; until then the link is a loop back to this one."""
        self._other = other

    def forget_own(self) -> None:
        """Erase what was reserved and not confirmed: the session or the power is gone."""
        for held in self._own.values():
            _overwrite(held.material)
        self._own.clear()

    def reserve(self, size: int, count: int) -> list[bytes]:
        """Set *count* keys aside; return their IDs."""
        self._check_reserve(size, count)
        fresh = [(self.supply.new_id(), size, self.supply.take(size)) for _ in range(count)]
        self._other.store(fresh)  # first there, then here: never a key at this end alone
        for key_id, _, material in fresh:
            self._own[key_id] = HeldKey(size, 0, bytearray(material))
        return [key_id for key_id, _, _ in fresh]

    def store(self, keys: Sequence[tuple[bytes, int, bytes]]) -> None:
        """Take keys that the peer's box starts."""
        self._memory.add(keys)

    def bind(self, key_id: bytes) -> int:
        """Return the size of a key that the peer started."""
        stored = self._memory.find(key_id)
        if stored is None:
            raise self._missing(key_id)
        return stored.size

    def agree(self, key_id: bytes) -> int:
        """Return 1 if the peer's box holds the same key, 0 if nobody can tell."""
        held = self._find(key_id)
        if not self.link_up:
            raise BoxError(Code.LINK_DOWN, "the quantum link is down")
        return self._other.compare(key_id, held, started_here=key_id not in self._own)

    def compare(self, key_id: bytes, theirs: HeldKey, *, started_here: bool) -> int:
        """Answer the other box's :meth:`agree`."""
        if key_id in self._used_up:
            return 1
        ours = self._own.get(key_id) if started_here else self._memory.find(key_id)
        if ours is None and not started_here:
            raise BoxError(Code.KEY_NOT_FOUND, "the peer's box does not hold this key")
        if ours is None:
            return 0  # volatile, so perhaps it was used
        if not hmac.compare_digest(_above(ours, theirs.mark), _above(theirs, ours.mark)):
            raise BoxError(Code.KEY_MISMATCH, "the peer's box holds other bytes")
        return 1

    def read(self, key_id: bytes, offset: int, size: int) -> bytes:
        """Return bytes of a key; they stay until they are confirmed."""
        held = self._find(key_id)
        if offset < held.mark:
            raise BoxError(Code.KEY_CONSUMED, "these bytes were confirmed")
        end = offset + size
        if held.size and end > held.size:
            raise BoxError(Code.MALFORMED, "beyond the end of the key")
        if end > held.mark + len(held.material):
            held = self._grown(key_id, held, end)
        return bytes(held.material[offset - held.mark : end - held.mark])

    def whole(self, key_id: bytes, most: int) -> bytes | None:
        """Return a key that has not more than *most* bytes and an end, all of it still here."""
        held = self._find(key_id)
        fits = 0 < held.size <= most and not held.mark
        return bytes(held.material) if fits else None

    def confirm(self, key_id: bytes, end: int) -> None:
        """Erase the bytes below *end*; nothing happens where there are none."""
        held = self._own.get(key_id) or self._memory.find(key_id)
        if held is None or end <= held.mark:
            return
        if end > held.mark + len(held.material):
            raise BoxError(Code.MALFORMED, "beyond the bytes that the key has")
        if key_id in self._own:
            self._confirm_own(key_id, held, end)
        elif end == held.size:
            self._memory.remove(key_id)
        else:
            self._memory.move_mark(key_id, end)
        if end == held.size:
            self._used_up.add(key_id)

    def grow_own(self, key_id: bytes, end: int) -> bool:
        """Bring a stream that started here to *end* bytes, at both ends."""
        held = self._own.get(key_id)
        if held is None:
            return False
        missing = end - held.mark - len(held.material)
        if missing > 0:
            self._check_supply(missing)
            fresh = self.supply.take(missing)
            self._other.extend(key_id, fresh)
            self._own[key_id] = held._replace(material=held.material + fresh)
            _overwrite(held.material)
        return True

    def extend(self, key_id: bytes, material: bytes) -> None:
        """Take more bytes of a stream that the peer's box started."""
        self._memory.extend(key_id, material)

    def _find(self, key_id: bytes) -> HeldKey:
        held = self._own.get(key_id) or self._memory.find(key_id)
        if held is None:
            raise self._missing(key_id)
        return held

    def _missing(self, key_id: bytes) -> BoxError:
        if key_id in self._used_up:
            return BoxError(Code.KEY_CONSUMED, "this key was used up")
        return BoxError(Code.KEY_NOT_FOUND, "no such key")

    def _check_reserve(self, size: int, count: int) -> None:
        if size > self._max_key:
            raise BoxError(Code.TOO_LARGE, f"keys have at most {self._max_key} bytes")
        if len(self._own) + count > _OWN_ROOM:
            raise BoxError(Code.STORE_FULL, "too many keys are reserved and not confirmed")
        if not self.link_up:
            raise BoxError(Code.LINK_DOWN, "the quantum link is down")
        self._check_supply((size or 1) * count)

    def _check_supply(self, size: int) -> None:
        if size > self.supply.stored:
            raise BoxError(Code.KEYS_EXHAUSTED, "not enough key in store")

    def _grown(self, key_id: bytes, held: HeldKey, end: int) -> HeldKey:
        if end > held.mark + self._max_key:
            raise BoxError(Code.TOO_LARGE, f"streams are read {self._max_key} bytes ahead at most")
        starter = self if key_id in self._own else self._other
        if not starter.grow_own(key_id, end):
            raise BoxError(Code.KEYS_EXHAUSTED, "the peer has ended this stream")
        return self._find(key_id)

    def _confirm_own(self, key_id: bytes, held: HeldKey, end: int) -> None:
        if end == held.size:
            del self._own[key_id]
        else:
            self._own[key_id] = held._replace(mark=end, material=held.material[end - held.mark :])
        _overwrite(held.material)


def _above(held: HeldKey, mark: int) -> bytes | bytearray:
    return held.material[max(0, mark - held.mark) :]


def _overwrite(material: bytes | bytearray) -> None:
    if isinstance(material, bytearray):
        material[:] = bytes(len(material))
