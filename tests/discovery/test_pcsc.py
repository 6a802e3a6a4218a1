"""Card readers, as a PC/SC daemon with virtual cards in it shows them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from qkd_hal_drivers.buses.pcsc import discover
from qkd_hal_firmware_mocks.token.applet import KeyApplet
from qkd_hal_firmware_mocks.token.medium import MemoryMedium

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_mock import MockerFixture

    from qkd_hal.discovery import DiscoveredDevice
    from qkd_hal_firmware_mocks.token.pcscd import PcscDaemon

scard: Any = pytest.importorskip("smartcard.scard", reason="pip install 'qkd-hal[pcsc]'")


def in_slot(slot: int) -> DiscoveredDevice:
    return discover()[slot]


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.needs("vpcd-config")
def test_an_empty_reader_is_unknown_and_says_so(
    pcsc_daemon: PcscDaemon, mocker: MockerFixture
) -> None:
    wait_for(lambda: not in_slot(0).usable)
    found = in_slot(0)
    assert found.url == "token+pcsc:///QKD%20key%20token%20mock%2000%2000"
    assert (found.known, found.reason) == (False, "no card is in this reader")
    release = mocker.spy(scard, "SCardReleaseContext")
    assert pcsc_daemon.slots == len(discover())
    assert release.call_count == 1


@pytest.mark.needs("vpcd-config")
def test_a_card_is_seen_without_a_connection_and_known_by_its_answer(
    pcsc_daemon: PcscDaemon,
) -> None:
    before = in_slot(1)
    with pcsc_daemon.insert(KeyApplet(MemoryMedium()), slot=1):
        wait_for(lambda: in_slot(1).usable)
        found = in_slot(1)
        assert (found.known, found.provenance.simulated) == (True, True)
        assert found.change_token != before.change_token
    wait_for(lambda: not in_slot(1).usable)


@pytest.mark.needs("vpcd-config")
def test_a_card_that_somebody_has_for_himself_is_busy(pcsc_daemon: PcscDaemon) -> None:
    with pcsc_daemon.insert(KeyApplet(MemoryMedium()), slot=0):
        wait_for(lambda: in_slot(0).usable)
        _, service = scard.SCardEstablishContext(scard.SCARD_SCOPE_USER)
        reader = in_slot(0).model
        outcome, card, _ = scard.SCardConnect(
            service, reader, scard.SCARD_SHARE_EXCLUSIVE, scard.SCARD_PROTOCOL_T1
        )
        assert outcome == scard.SCARD_S_SUCCESS
        assert "for itself" in in_slot(0).reason
        scard.SCardDisconnect(card, scard.SCARD_LEAVE_CARD)
        scard.SCardReleaseContext(service)
        assert in_slot(0).usable


def test_without_a_service_the_bus_is_unknown_and_names_the_cure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refusal = (scard.SCARD_E_NO_SERVICE, 0)
    monkeypatch.setattr(scard, "SCardEstablishContext", lambda _: refusal)
    (bus,) = discover()
    assert (bus.url, bus.usable, bus.known) == ("", False, False)
    assert "systemctl start pcscd" in bus.cure


def test_without_the_extra_nothing_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert discover() == []
