"""How much key the modem wants: distil below low water, stop at high water."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qkd_hal_simulators.modem.key_store import KeyStore

__all__ = ["Appetite"]

_LOW_PART = 0.75  # of high water: no stop and go at every key


class Appetite:
    """Whether more is wanted, by the emptier of the two spaces.

    *high_water*: bytes of either space. One thread updates, any thread reads ``hungry``.
    """

    def __init__(self, store: KeyStore, *, high_water: int) -> None:
        self._store = store
        self._high_water = high_water
        self.hungry = True

    def update(self) -> bool:
        """Look at the store again."""
        held = min(self._store.remaining(own=own) for own in (True, False))
        limit = self._high_water if self.hungry else self._high_water * _LOW_PART
        self.hungry = held < limit
        return self.hungry
