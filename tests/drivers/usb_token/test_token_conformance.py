"""A filled pair of key tokens keeps the promises of every key device, over CCID and PC/SC."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qkd_hal import open_device
from qkd_hal.testing.conformance import FullConformance, Pair
from qkd_hal_firmware_mocks.token.emulator import TokenPair

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.drivers.usb_token.conftest import Cards


@pytest.fixture(scope="module")
def emulated() -> Iterator[TokenPair]:
    with TokenPair() as pair:
        yield pair


class TestEmulated(FullConformance):
    """The emulator `token`, with every fault of the firmware and a pulled plug."""

    serial_numbers = frozenset({"MOCK-TOKEN-ALICE", "MOCK-TOKEN-BOB"})

    @pytest.fixture
    def disturb(self, emulated: TokenPair) -> TokenPair:
        return emulated

    @pytest.fixture
    def pair(self, emulated: TokenPair) -> Iterator[Pair]:
        with open_device(emulated.alice_url) as alice, open_device(emulated.bob_url) as bob:
            yield alice, bob


@pytest.mark.needs("vpcd-config")
class TestOverPcsc(FullConformance):
    """Through pcscd and a virtual reader, where cards misbehave and are pulled out."""

    serial_numbers = frozenset({"TOKEN-ALICE", "TOKEN-BOB"})

    @pytest.fixture
    def disturb(self, cards: Cards) -> Cards:
        return cards

    @pytest.fixture
    def pair(self, cards: Cards) -> Iterator[Pair]:
        with open_device(cards.url("alice")) as alice, open_device(cards.url("bob")) as bob:
            yield alice, bob
