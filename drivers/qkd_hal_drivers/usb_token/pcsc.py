"""The card through the PC/SC service, which other programs may use at the same time."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from smartcard import scard

from qkd_hal.errors import (
    ConfigurationError,
    DeadlineError,
    DeviceClosedError,
    DeviceNotFoundError,
)
from qkd_hal.sources import Deadline
from qkd_hal_drivers.usb_token.apdu import SHORT_DATA
from qkd_hal_drivers.usb_token.patient_thread import PatientThread
from qkd_hal_drivers.usb_token.pcsc_errors import CARD_RESET, absence, failure, gone

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["PcscLink"]

_PROTOCOLS: Final = scard.SCARD_PROTOCOL_T0 | scard.SCARD_PROTOCOL_T1
_EXTENDED_DATA: Final = 65535
_SETTLE_SECONDS: Final = 1.5  # the service looks for cards every 0.4 s
_POLL_SECONDS: Final = 0.05


class PcscLink:
    """A `CardLink` to the card in the reader called *reader*; empty: the only one with a card."""

    shared = True

    def __init__(self, reader: str, name: str) -> None:
        self.name = name
        self._reader = reader
        self._closing = threading.Lock()
        self._closed = False
        self._thread: PatientThread | None = None
        self._context: int | None = None
        self._card: int | None = None
        self._protocol = 0
        self._failed = False  # the last command did not reach the card
        self._left_behind = False  # the last command may still be under way

    @property
    def longest(self) -> int:
        """Bytes of data in one command; T=0 knows short APDUs only."""
        return _EXTENDED_DATA if self._protocol == scard.SCARD_PROTOCOL_T1 else SHORT_DATA

    def open(self, deadline: Deadline) -> None:
        """Connect, once the service has noticed the card."""
        with self._closing:
            if self._closed:
                raise DeviceClosedError("the token was closed", device=self.name)
            self._thread = PatientThread(self.name, self._clean_up)
        settled = Deadline(deadline.remaining(_SETTLE_SECONDS))
        while True:
            try:
                return self._running().call(self._connect, deadline)
            except DeviceNotFoundError:
                if settled.expired or self._context is None:
                    raise
            time.sleep(_POLL_SECONDS)

    @contextmanager
    def turn(self, deadline: Deadline) -> Iterator[None]:
        """A transaction: no other program reaches the card inside the block."""
        thread = self._running()
        thread.call(self._begin, deadline, undo=self._end)
        try:
            yield
        finally:
            thread.post(self._end)

    def transmit(self, apdu: bytes | bytearray, deadline: Deadline) -> bytearray:
        """Send a command APDU and return its answer."""
        message = list(apdu)
        try:
            return self._running().call(lambda: self._transmit(message), deadline)
        except (DeadlineError, DeviceClosedError, KeyboardInterrupt):
            self._left_behind = True  # the command may still be done, and leave the card verified
            raise

    def recover(self, deadline: Deadline) -> None:
        """Take the card as it is, which tells whether the service still has it."""
        self._running().call(self._reconnect, deadline)
        self._left_behind = False

    def close(self) -> None:
        """Wake whoever waits and disconnect; idempotent, from any thread."""
        with self._closing:
            self._closed = True
            thread = self._thread
        if thread is not None:
            thread.close()
            thread.join()

    def _running(self) -> PatientThread:
        if self._thread is None or self._closed:
            raise DeviceClosedError("the token was closed", device=self.name)
        return self._thread

    # What follows runs in the thread.

    def _connect(self) -> None:
        if self._context is None:
            outcome, context = scard.SCardEstablishContext(scard.SCARD_SCOPE_USER)
            if outcome != scard.SCARD_S_SUCCESS:
                raise absence(outcome, self.name)
            self._context = context
        reader = self._reader or self._only_reader()
        outcome, card, protocol = scard.SCardConnect(
            self._context, reader, scard.SCARD_SHARE_SHARED, _PROTOCOLS
        )
        if outcome != scard.SCARD_S_SUCCESS:
            raise absence(outcome, self.name)
        self._card, self._protocol = card, protocol

    def _only_reader(self) -> str:
        outcome, readers = scard.SCardListReaders(self._context, [])
        if outcome != scard.SCARD_S_SUCCESS:
            raise absence(outcome, self.name)
        asked = [(reader, scard.SCARD_STATE_UNAWARE) for reader in readers]
        outcome, states = scard.SCardGetStatusChange(self._context, 0, asked)
        found = [state[0] for state in states if state[1] & scard.SCARD_STATE_PRESENT]
        if not found:
            raise absence(scard.SCARD_E_NO_SMARTCARD, self.name)
        if len(found) > 1:
            several = ", ".join(sorted(found))
            what = f"several readers hold a card: {several}"
            raise ConfigurationError(what, device=self.name, cure="Add one to the URL")
        return str(found[0])

    def _begin(self) -> None:
        outcome = scard.SCardBeginTransaction(self._card)
        if outcome == CARD_RESET:
            self._reconnect()
            outcome = scard.SCardBeginTransaction(self._card)
        if outcome != scard.SCARD_S_SUCCESS:
            raise failure(outcome, self.name)

    def _reconnect(self) -> None:
        # Without a reset: one that fails because the card is away for a moment would leave
        # pcscd believing that there is none, even once it is back.
        outcome, self._protocol = scard.SCardReconnect(
            self._card, scard.SCARD_SHARE_SHARED, _PROTOCOLS, scard.SCARD_LEAVE_CARD
        )
        if outcome != scard.SCARD_S_SUCCESS:
            raise gone(outcome, self.name)

    def _transmit(self, message: list[int]) -> bytearray:
        header = scard.SCARD_PCI_T1 if self.longest > SHORT_DATA else scard.SCARD_PCI_T0
        outcome, answer = scard.SCardTransmit(self._card, header, message)
        message[:] = []
        if not answer and outcome == scard.SCARD_S_SUCCESS:
            outcome = scard.SCARD_E_NOT_TRANSACTED  # some readers say so of a card just pulled out
        failed_before, self._failed = self._failed, outcome != scard.SCARD_S_SUCCESS
        if self._failed and failed_before:
            raise gone(outcome, self.name)  # the service notices a little later
        if self._failed:
            raise failure(outcome, self.name)
        return bytearray(answer)

    def _end(self) -> None:
        """End a transaction; one that cannot be ended is over."""
        scard.SCardEndTransaction(self._card, self._how_to_leave())

    def _clean_up(self) -> None:
        """Disconnect."""
        card, self._card = self._card, None
        context, self._context = self._context, None
        if card is not None:
            scard.SCardDisconnect(card, self._how_to_leave())
        if context is not None:
            scard.SCardReleaseContext(context)

    def _how_to_leave(self) -> int:
        """With a reset, where the last log-out may not have reached a card that is there."""
        reset = self._left_behind and not self._failed
        how: int = scard.SCARD_RESET_CARD if reset else scard.SCARD_LEAVE_CARD
        return how
