"""A key token's driver under random calls and random faults: on a bus, and through pcscd."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from qkd_hal_drivers import _usb
from qkd_hal_firmware_mocks.token.faults import CARD_FAULTS, Fault
from qkd_hal_firmware_mocks.usb.virtual_bus import VirtualBus
from tests.soak.soak import check_variety, soak
from tests.soak.usb_tokens import PcscTokenWorld, TokenWorld

if TYPE_CHECKING:
    from pathlib import Path

    from qkd_hal_firmware_mocks.token.pcscd import PcscDaemon


@pytest.mark.parametrize(
    "operations",
    [10_000, pytest.param(100_000, marks=[pytest.mark.slow, pytest.mark.timeout(900)])],
)
def test_usb_tokens_keep_their_promises(
    operations: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus = VirtualBus()
    monkeypatch.setattr(_usb, "provide_backend", lambda: bus.backend)
    make = partial(TokenWorld, directory=tmp_path, bus=bus)
    outcomes, faults = soak(make, operations, worlds=8)
    check_variety(outcomes, faults, of_faults=len(Fault))


@pytest.mark.needs("vpcd-config")
@pytest.mark.parametrize(
    "operations",
    [1_000, pytest.param(20_000, marks=[pytest.mark.slow, pytest.mark.timeout(900)])],
)
def test_tokens_in_a_reader_keep_their_promises(
    operations: int, tmp_path: Path, pcsc_daemon: PcscDaemon
) -> None:
    """Fewer calls than elsewhere: each turn is a transaction of the service, and each cut of
    the power a wait for it."""
    make = partial(PcscTokenWorld, directory=tmp_path, daemon=pcsc_daemon)
    outcomes, faults = soak(make, operations)
    check_variety(outcomes, faults, of_faults=len(CARD_FAULTS))
