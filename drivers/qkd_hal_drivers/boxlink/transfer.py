"""Puts the chunks of one transfer in their place: ``docs/boxlink.md``, section 7.1."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

from qkd_hal.errors import ProtocolError

if TYPE_CHECKING:
    from qkd_hal_drivers.boxlink.link import Chunk
    from qkd_hal_drivers.boxlink.messages import Transfer

__all__ = ["Assembly"]


class Assembly:
    """Fills *out* from the chunks of *transfer*, in order; ``taken`` bytes are in place."""

    def __init__(self, transfer: Transfer, out: memoryview) -> None:
        self.number = transfer.number
        self.taken = 0
        self._sha256 = transfer.sha256
        self._digest = hashlib.sha256()
        self._out = out

    @property
    def complete(self) -> bool:
        """Whether every byte is in place."""
        return self.taken == len(self._out)

    def take(self, chunk: Chunk) -> bool:
        """Take the next chunk; ``False`` for any other, since one is missing then.

        Raises:
            ProtocolError: it holds more than was announced, or the bytes are not those.
        """
        if (chunk.transfer, chunk.offset) != (self.number, self.taken):
            return False
        end = self.taken + len(chunk.data)
        if end > len(self._out):
            raise ProtocolError("the box sent more than the transfer that it announced")
        self._out[self.taken : end] = chunk.data
        self._digest.update(chunk.data)
        self.taken = end
        if self.complete and not hmac.compare_digest(self._digest.digest(), self._sha256):
            raise ProtocolError("the bytes of a transfer are not those that the box announced")
        return True
