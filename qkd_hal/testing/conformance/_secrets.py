"""Finds key bytes where they must not be, in any of the usual spellings."""

from __future__ import annotations

import base64
import gc
import types
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qkd_hal.keys import QuantumKey

__all__ = ["Needle"]

_WINDOW = 8  # bytes: a dump breaks its lines somewhere, and chance does not hit 8 bytes
_MOST = 200_000  # objects: more than any driver holds; past them the search gives up
_ELSEWHERE = (types.ModuleType, types.FunctionType, types.FrameType, type)


class Needle:
    """The bytes of one key, to be searched for; tells only whether it found them."""

    def __init__(self, key: QuantumKey) -> None:
        with key.exposed() as view:
            self._key = bytes(view)

    def __repr__(self) -> str:
        return "<the key that is searched for>"

    def in_text(self, text: str) -> bool:
        """Tell whether *text* has eight bytes of the key in a row, however they are written."""
        closed_up = "".join(text.split())
        forms = (
            (_undashed(closed_up), bytes.hex),
            (text, lambda part: repr(part)[2:-1]),
            (closed_up, lambda part: ",".join(map(str, part))),
        )
        parts = [self._key[at : at + _WINDOW] for at in range(len(self._key) - _WINDOW + 1)]
        found = any(spelt(part) in place for place, spelt in forms for part in parts)
        return found or self._in_base64(closed_up)

    def held_by(self, root: object) -> bool:
        """Tell whether *root*, or anything that it holds, has the whole key in its memory."""
        seen: set[int] = {id(self), id(self._key), id(self.__dict__)}
        heap: list[object] = [root]
        while heap and len(seen) < _MOST:
            item = heap.pop()
            if id(item) in seen or isinstance(item, _ELSEWHERE):
                continue
            seen.add(id(item))
            if isinstance(item, bytes | bytearray) and self._key in item:
                return True
            heap.extend(gc.get_referents(item))
        return False

    def _in_base64(self, text: str) -> bool:
        plain = text.replace("-", "+").replace("_", "/")
        return base64.b64encode(self._key)[:-4].decode() in plain


def _undashed(text: str) -> str:
    """Drop what hex dumps put between bytes."""
    plain = text.lower().replace("0x", "").replace("\\x", "")
    return plain.translate(str.maketrans("", "", ":-,"))
