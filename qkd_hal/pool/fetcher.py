"""The responder's side of filling: a thread that gets offered blocks from our own device."""

from __future__ import annotations

import queue
from threading import Thread
from typing import TYPE_CHECKING

from qkd_hal.errors import ConfigurationError, DeviceError, QKDError

if TYPE_CHECKING:
    from collections.abc import Callable

    from qkd_hal.keys import Provenance
    from qkd_hal.link.messages import Offer
    from qkd_hal.sources import KeySource

__all__ = ["Fetcher"]


class Fetcher:
    """Takes each offered key from ``source``, which may block, and reports the outcome."""

    def __init__(
        self,
        peer: str,
        fetched: Callable[[Offer, bytearray, Provenance], None],
        failed: Callable[[Offer, QKDError], None],
    ) -> None:
        self.source: KeySource | None = None
        self._peer, self._fetched, self._failed = peer, fetched, failed
        self._offers: queue.SimpleQueue[Offer | None] = queue.SimpleQueue()
        self._thread = Thread(target=self._work, name=f"qkd-fetch-{peer}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def put(self, offer: Offer) -> None:
        """Queue an offer; the state machine bounds how many there are."""
        self._offers.put(offer)

    def close(self) -> None:
        """Stop after the fetch that is running."""
        self._offers.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (offer := self._offers.get()) is not None:
            try:
                self._fetch(offer)
            except QKDError as error:
                self._failed(offer, error)
            except Exception as error:  # noqa: BLE001 - a bug of a device must not end filling
                self._failed(offer, DeviceError(f"a bug in the device: {type(error).__name__}"))

    def _fetch(self, offer: Offer) -> None:
        if self.source is None:
            raise ConfigurationError(f"no device at this site shares keys with {self._peer}")
        with (
            self.source.take(offer.ref, offer.size) as key,
            key.exposed() as view,
        ):
            self._fetched(offer, bytearray(view), key.provenance)
