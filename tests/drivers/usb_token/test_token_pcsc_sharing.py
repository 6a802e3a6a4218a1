"""The card between programs: transactions, log-outs, and what the service says."""

from __future__ import annotations

import itertools
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from qkd_hal import open_device
from qkd_hal.errors import ConfigurationError, DeadlineError, DeviceNotFoundError
from qkd_hal_drivers.usb_token.patient_thread import PatientThread
from tests.drivers.usb_token.conftest import exchange, raw

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.drivers.usb_token.conftest import Cards

pytestmark = pytest.mark.needs("vpcd-config")

ASK_PIN = "00200081"
GET_STATUS = 0x02


@contextmanager
def another_program(cards: Cards, *, alone: bool = False) -> Iterator[int]:
    """Another connection to alice's card, in a transaction."""
    from smartcard import scard

    mode = scard.SCARD_SHARE_EXCLUSIVE if alone else scard.SCARD_SHARE_SHARED
    _, context = scard.SCardEstablishContext(scard.SCARD_SCOPE_USER)
    reader = f"{cards.daemon.reader_name} 00 00"
    outcome, card, _ = scard.SCardConnect(context, reader, mode, scard.SCARD_PROTOCOL_T1)
    assert outcome == 0
    if not alone:
        assert scard.SCardBeginTransaction(card) == 0
    yield card
    scard.SCardEndTransaction(card, scard.SCARD_LEAVE_CARD)
    scard.SCardDisconnect(card, scard.SCARD_LEAVE_CARD)
    scard.SCardReleaseContext(context)


def test_no_other_program_finds_the_token_verified(cards: Cards) -> None:
    with open_device(cards.url("alice")) as device:
        device.status()
        time.sleep(0.05)  # the end of a transaction is waited for by nobody
        assert raw(cards.applets[0], ASK_PIN) == b"\x63\xc3"


def test_a_program_that_holds_the_card_is_waited_for_until_the_deadline(cards: Cards) -> None:
    with open_device(cards.url("alice")) as alice, open_device(cards.url("bob")) as bob:
        with another_program(cards), pytest.raises(DeadlineError):
            alice.status(timeout=0.3)
        exchange(alice, bob)
        time.sleep(0.1)
        with another_program(cards):  # nothing of the call that was given up holds the card
            pass


def test_another_programs_reset_and_selection_do_no_harm(cards: Cards) -> None:
    from smartcard import scard

    with open_device(cards.url("alice")) as alice, open_device(cards.url("bob")) as bob:
        with another_program(cards) as card:
            select = list(bytes.fromhex("00A4040005A000000003"))
            assert scard.SCardTransmit(card, scard.SCARD_PCI_T1, select)[0] == 0
            scard.SCardReconnect(
                card, scard.SCARD_SHARE_SHARED, scard.SCARD_PROTOCOL_T1, scard.SCARD_RESET_CARD
            )
        exchange(alice, bob)


def test_a_command_that_was_given_up_does_not_leave_the_token_verified(
    cards: Cards, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = cards.cards[0]
    awake, answer = threading.Event(), card.transmit

    def slow(apdu: bytes) -> bytes:
        if apdu[1] == GET_STATUS:
            awake.wait()
        return answer(apdu)

    with open_device(cards.url("alice")) as alice, open_device(cards.url("bob")) as bob:
        monkeypatch.setattr(card, "transmit", slow)
        with pytest.raises(DeadlineError):
            alice.status(timeout=0.3)
        awake.set()
        with another_program(cards):  # comes in when the command that was given up is done
            assert raw(cards.applets[0], ASK_PIN) != b"\x90\x00"
        exchange(alice, bob)


def test_ctrl_c_leaves_neither_a_transaction_nor_a_verified_token(
    cards: Cards, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_device(cards.url("alice")) as alice, open_device(cards.url("bob")) as bob:
        # While the transaction begins, and in SELECT, two VERIFY, GET STATUS and the log-out.
        for calls in range(6):
            with monkeypatch.context() as patch:
                patch.setattr(PatientThread, "_awaited", interrupted(after=calls))
                with pytest.raises(KeyboardInterrupt):
                    alice.status()
            with another_program(cards):
                assert raw(cards.applets[0], ASK_PIN) != b"\x90\x00"
            exchange(alice, bob)


def interrupted(*, after: int) -> Callable[..., object]:
    """A wait for a call during which, once, Ctrl-C comes."""
    calls, whole = itertools.count(), vars(PatientThread)["_awaited"]

    def awaited(*arguments: object) -> object:
        if next(calls) == after:
            raise KeyboardInterrupt
        return whole(*arguments)

    return awaited


@pytest.mark.parametrize("path", ["", "/", "/Nobody%27s%20reader"])
def test_which_reader(cards: Cards, path: str) -> None:
    url = f"token+pcsc:{path}?pin-source={cards.pin_file}"
    expected = (DeviceNotFoundError, "no such card reader")
    if "Nobody" not in path:
        expected = (ConfigurationError, "several readers")  # type: ignore[assignment]
    with pytest.raises(expected[0], match=expected[1]):
        open_device(url).init()


@pytest.mark.parametrize("url", ["token+pcsc://host/reader", "token+pcsc:///reader?slot=1"])
def test_another_address_is_refused(url: str) -> None:
    pytest.importorskip("smartcard", reason="pip install 'qkd-hal[pcsc]'")
    with pytest.raises(ConfigurationError, match="qkd-hal devices"):
        open_device(url)
