"""The token in a real PC/SC stack: pcscd, vsmartcard's reader and pyscard take it for a card."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from qkd_hal_firmware_mocks.faults import FaultPlan
from qkd_hal_firmware_mocks.token.applet import ATR, KeyApplet
from qkd_hal_firmware_mocks.token.medium import MemoryMedium
from qkd_hal_firmware_mocks.token.mischief import FaultyCard
from qkd_hal_firmware_mocks.token.model import Model

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qkd_hal_firmware_mocks.token.pcscd import PcscDaemon
    from qkd_hal_firmware_mocks.token.vpcd import VpcdCard

pytestmark = pytest.mark.needs("vpcd-config")

SELECT = bytes.fromhex("00A40400 08 F0514B4448414C01 00")
GET_STATUS = bytes.fromhex("80020000 00")
SECONDS = 10.0


@pytest.fixture
def plan() -> FaultPlan:
    return FaultPlan()


@pytest.fixture
def inserted(pcsc_daemon: PcscDaemon, plan: FaultPlan) -> Iterator[VpcdCard]:
    pytest.importorskip("smartcard", reason="pip install 'qkd-hal[pcsc]'")
    with pcsc_daemon.insert(FaultyCard(KeyApplet(MemoryMedium()), plan)) as card:
        yield card


@pytest.fixture
def connection(pcsc_daemon: PcscDaemon, inserted: VpcdCard) -> Iterator[Any]:
    connection = connected(pcsc_daemon, 0)
    yield connection
    released(connection)


def connected(daemon: PcscDaemon, slot: int) -> Any:
    """Connect once the daemon, which looks every 0.4 s, has seen the card."""
    from smartcard.Exceptions import SmartcardException
    from smartcard.System import readers

    end = time.monotonic() + SECONDS
    while True:
        (reader,) = (each for each in readers() if str(each).endswith(f"00 0{slot}"))
        connection = reader.createConnection()
        try:
            connection.connect()
        except SmartcardException:
            connection.release()
            if time.monotonic() > end:
                raise
            time.sleep(0.02)
        else:
            return connection


def released(connection: Any) -> None:
    """Let go of a card that may be gone."""
    from smartcard.Exceptions import SmartcardException

    with suppress(SmartcardException):
        connection.disconnect()
    connection.release()


def answered_anew(daemon: PcscDaemon, apdu: bytes) -> bytes:
    """Connect and ask until there is an answer: the daemon may not have noticed the loss yet."""
    from smartcard.Exceptions import SmartcardException

    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        connection = connected(daemon, 0)
        try:
            return transmit(connection, apdu)
        except SmartcardException:
            time.sleep(0.02)
        finally:
            released(connection)
    raise TimeoutError("the card did not come back")


def transmit(connection: Any, apdu: bytes) -> bytes:
    data, first, second = connection.transmit(list(apdu))
    return bytes([*data, first, second])


def test_a_card_program_answers_through_the_stack(connection: Any) -> None:
    assert bytes(connection.getATR()) == ATR
    assert transmit(connection, GET_STATUS) == b"\x69\x99"
    assert transmit(connection, SELECT) == KeyApplet(MemoryMedium()).transmit(SELECT)
    longest = bytes.fromhex("80100000 00 1000") + bytes(Model().max_command_data) + b"\0\0"
    assert transmit(connection, longest) == b"\x6a\x80"


def test_the_daemon_parses_the_answer_to_reset(connection: Any) -> None:
    import smartcard.ATR

    atr = smartcard.ATR.ATR(connection.getATR())
    assert atr.isT1Supported()
    assert atr.checksumOK
    assert bytes(atr.getHistoricalBytes()).endswith(b"QKDHAL")


def test_disconnecting_resets_the_card(pcsc_daemon: PcscDaemon, inserted: VpcdCard) -> None:
    from smartcard.scard import SCARD_RESET_CARD

    first = connected(pcsc_daemon, 0)
    transmit(first, SELECT)
    first.disposition = SCARD_RESET_CARD
    first.disconnect()
    first.release()
    second = connected(pcsc_daemon, 0)
    assert transmit(second, GET_STATUS) == b"\x69\x99"
    released(second)


def test_two_tokens_in_one_reader(pcsc_daemon: PcscDaemon, inserted: VpcdCard) -> None:
    other = KeyApplet(MemoryMedium(), Model(serial_number="ANOTHER"))
    with pcsc_daemon.insert(other, slot=1):
        found = [connected(pcsc_daemon, slot) for slot in (0, 1)]
        answers = [transmit(connection, SELECT) for connection in found]
        assert [b"ANOTHER" in answer for answer in answers] == [False, True]
        for connection in found:
            released(connection)


def test_a_power_cut_takes_the_card_out_and_brings_it_back(
    pcsc_daemon: PcscDaemon, connection: Any, plan: FaultPlan
) -> None:
    from smartcard.Exceptions import SmartcardException

    transmit(connection, SELECT)
    plan.once("cut-after")
    with pytest.raises(SmartcardException):
        transmit(connection, GET_STATUS)
    assert answered_anew(pcsc_daemon, GET_STATUS) == b"\x69\x99"


def test_a_card_pulled_out(connection: Any, inserted: VpcdCard) -> None:
    from smartcard.Exceptions import SmartcardException

    inserted.close()
    with pytest.raises(SmartcardException):
        transmit(connection, SELECT)
