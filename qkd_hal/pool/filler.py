"""Keeps a space between its low and high water from a device, and answers the peer's offers.

Both sites run a filler on their end of the same device pair: one reserves blocks and offers
them, the other takes the same bytes by the device's key ID.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from threading import Event, Thread
from typing import TYPE_CHECKING

from qkd_hal.errors import DeviceError, QKDError, StateError, UsageError
from qkd_hal.link.records import CHECK_SIZE, MAX_BLOCK_SIZE

if TYPE_CHECKING:
    from qkd_hal.pool.pool import Pool
    from qkd_hal.sources import KeySource

__all__ = ["Filler", "FillerStatus"]

_log = logging.getLogger("qkd_hal.pool")

BLOCK_SIZE = 4096  # bytes: 127 keys of 256 bits and the check key
BACKOFF = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0)  # seconds after each failure; the last repeats


@dataclass(frozen=True, slots=True)
class FillerStatus:
    """``blocks``: filled since the start; ``failures``: in a row now; ``error``: the last one."""

    blocks: int
    failures: int
    error: str


class Filler:
    """Fills the space from this pool to *peer* out of *source*, in a thread of its own.

    *low_water* and *high_water*: bytes; filling begins below the one and ends at the other.
    *block_size*: bytes that are reserved from the device at once, 32 of which check the rest.
    With ``fill=False`` it only answers what the peer offers.
    """

    def __init__(
        self,
        pool: Pool,
        peer: str,
        source: KeySource,
        *,
        low_water: int = 256 * 1024,
        high_water: int = 1024 * 1024,
        block_size: int = BLOCK_SIZE,
        fill: bool = True,
    ) -> None:
        if not 0 < low_water <= high_water or not CHECK_SIZE < block_size <= MAX_BLOCK_SIZE:
            raise UsageError("a filler needs 0 < low water <= high water and a block above 32 B")
        self._pool, self._peer, self._source = pool, peer, source
        self._low, self._high, self._block_size = low_water, high_water, block_size
        self._fill = fill
        self._wake = Event()
        self._closed = False
        self._blocks = self._failures = 0
        self._error = ""
        self._thread = Thread(target=self._work, name=f"qkd-filler-{peer}", daemon=True)

    def start(self) -> Filler:
        """Answer offers and begin to fill; return self."""
        self._pool.accept_blocks(self._peer, self._source)
        self._pool.add_closer(self.close)
        if self._fill:
            self._pool.watch_level(self._peer, self._wake)
            self._thread.start()
        return self

    def status(self) -> FillerStatus:
        """Report how filling goes."""
        return FillerStatus(self._blocks, self._failures, self._error)

    def close(self) -> None:
        """Stop filling; idempotent. Waits for a call to the device that is running."""
        self._closed = True
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join()

    def __enter__(self) -> Filler:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _work(self) -> None:
        while not self._closed:
            self._wake.clear()
            if self._pool.level(self._peer) < self._low:
                self._fill_up()
            self._wake.wait(1.0)

    def _fill_up(self) -> None:
        while not self._closed and self._pool.level(self._peer) < self._high:
            try:
                self._add_block()
            except StateError:
                return  # the pool was closed under us
            except QKDError as error:  # a credential or a device may come back
                self._back_off(error)
            except Exception as error:  # noqa: BLE001 - a bug of the source must not end filling
                # Its text stays out: it may quote key bytes.
                self._back_off(DeviceError(f"the source raised {type(error).__name__}"))

    def _add_block(self) -> None:
        with self._source.reserve(self._peer, self._block_size) as reservation:
            self._pool.add_block(self._peer, reservation.key)
        self._blocks += 1
        self._failures, self._error = 0, ""

    def _back_off(self, error: QKDError) -> None:
        pause = BACKOFF[min(self._failures, len(BACKOFF) - 1)]
        self._failures += 1
        self._error = f"[{error.code}] {error}"
        _log.info("filling towards %s failed, again in %.2f s: %s", self._peer, pause, error)
        self._wake.clear()
        if not self._closed:
            self._wake.wait(pause)
