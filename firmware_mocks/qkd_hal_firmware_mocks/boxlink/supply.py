"""What the quantum link of a mock distils: random bytes, within a budget."""

from __future__ import annotations

import os
import random

__all__ = ["KeySupply"]


class KeySupply:
    """Fresh key of one direction. *stored*: how many bytes there are; *seed* replays them."""

    def __init__(self, stored: int, seed: int | None = None) -> None:
        self.stored = stored
        self._bytes = os.urandom if seed is None else random.Random(seed).randbytes  # noqa: S311

    def new_id(self) -> bytes:
        """Return a key ID that nobody can guess, if there is no seed."""
        return self._bytes(16)

    def take(self, size: int) -> bytes:
        """Use up *size* bytes, which are there."""
        self.stored -= size
        return self._bytes(size)
