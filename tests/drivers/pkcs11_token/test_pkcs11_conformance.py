"""A filled pair of PKCS#11 tokens keeps the promises of every key device."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qkd_hal import open_device
from qkd_hal.testing.conformance import DeviceConformance, Pair

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.drivers.pkcs11_token.conftest import FilledTokens, TokenPair

pytestmark = pytest.mark.needs("softhsm2-util")


class PairOfTokens(DeviceConformance):
    extractable: bool
    objects: str

    @pytest.fixture
    def pair(
        self, filled_tokens: FilledTokens, use_tokens: Callable[[Path], TokenPair]
    ) -> Iterator[Pair]:
        tokens = use_tokens(filled_tokens(10, extractable=self.extractable, path=self.objects))
        with (
            open_device(tokens.url("alice", self.objects)) as alice,
            open_device(tokens.url("bob", self.objects)) as bob,
        ):
            type(self).serial_numbers = frozenset(
                device.info.serial_number for device in (alice, bob)
            )
            yield alice, bob


class TestExtractableKeys(PairOfTokens):
    extractable, objects = True, ""


class TestKeysThatStayInside(PairOfTokens):
    extractable, objects = False, ""


class TestKeysAsData(PairOfTokens):
    extractable, objects = True, ";type=data"
