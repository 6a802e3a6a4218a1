"""A key too long for one answer, on its way in CHUNKs (``docs/boxlink.md``, section 7.1)."""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CHUNK_HEADER_BYTES", "Transfer"]

_HEADER = struct.Struct(">II")
CHUNK_HEADER_BYTES = 8


class Transfer:
    """The bytes of one FETCH, *step* at a time, as far as the host's *credit* goes."""

    def __init__(self, number: int, sequence: int, data: bytes, *, step: int, credit: int) -> None:
        self.number = number
        self.sequence = sequence
        self.credit = credit
        self._data = data
        self._step = step
        self._offset = 0

    @property
    def announcement(self) -> dict[str, Any]:
        """What the answer to FETCH says."""
        digest = hashlib.sha256(self._data).digest()
        return {"transfer": self.number, "total": len(self._data), "sha256": digest}

    @property
    def complete(self) -> bool:
        """Whether every byte was sent."""
        return self._offset >= len(self._data)

    def chunks(self) -> Iterator[bytes]:
        """Give the plaintexts of the CHUNKs that may be sent now."""
        while self.credit and not self.complete:
            start, self._offset = self._offset, self._offset + self._step
            self.credit -= 1
            yield _HEADER.pack(self.number, start) + self._data[start : self._offset]
